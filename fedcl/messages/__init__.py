"""What may travel between a site and the server, without Flower."""
