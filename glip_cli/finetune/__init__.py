"""Training: what the network should have said (`assign`), and how far it is from that (`loss`)."""
