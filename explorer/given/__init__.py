"""What a program or the owner of a server brings: networks and images, checked."""
