"""What Penstock's services share. Imports no service."""
