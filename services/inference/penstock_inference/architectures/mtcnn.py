"""The three networks of MTCNN (arXiv:1604.02878), with the names that the weights of facenet-pytorch have
(github.com/timesler/facenet-pytorch, MIT; ported there from github.com/davidsandberg/facenet)."""

from __future__ import annotations

from torch import Tensor, nn

from penstock_common.architectures import MtcnnParams


class PNet(nn.Module):
    """Takes an image ``[rows, 3, height, width]``; gives, for windows of 12 pixels at every second pixel, corrections of
    their four edges, ``[rows, 4, y, x]``, and probabilities of no face and face, ``[rows, 2, y, x]``.

    The pixels that all three networks take are ``(value - 127.5) / 128``. The corrections are parts of a window's sides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, 3)
        self.prelu1 = nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(10, 16, 3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, 3)
        self.prelu3 = nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(image)))
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x))
        return {"edges": self.conv4_2(x), "face": self.conv4_1(x).softmax(1)}


class RNet(nn.Module):
    """Takes windows ``[rows, 3, 24, 24]``; gives corrections of their edges, ``[rows, 4]``, and ``[rows, 2]``
    probabilities of no face and face."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, 3)
        self.prelu1 = nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(28, 48, 3)
        self.prelu2 = nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(48, 64, 2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(576, 128)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(image)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense4(x.permute(0, 3, 2, 1).flatten(1)))
        return {"edges": self.dense5_2(x), "face": self.dense5_1(x).softmax(1)}


class ONet(nn.Module):
    """Takes windows ``[rows, 3, 48, 48]``; gives what R-Net gives, and five points of the face, ``[rows, 10]``: first
    their places across, then those down, as parts of a window's sides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.prelu1 = nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.prelu2 = nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.prelu3 = nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4 = nn.Conv2d(64, 128, 2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(image)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense5(x.permute(0, 3, 2, 1).flatten(1)))
        return {"edges": self.dense6_2(x), "points": self.dense6_3(x), "face": self.dense6_1(x).softmax(1)}


class Mtcnn(nn.Module):
    """The networks together, each under its name: ``pnet.conv1.weight`` and so on. ``FaceSearch`` runs them."""

    def __init__(self, params: MtcnnParams) -> None:
        super().__init__()
        self.pnet = PNet()
        self.rnet = RNet()
        self.onet = ONet()
        self.smallest_face = params.smallest_face
