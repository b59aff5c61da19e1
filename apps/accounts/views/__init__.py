"""The pages of the people room: each authorises, calls one service and renders."""
