"""The version of every part of Penstock."""

VERSION = "0.1.0"
