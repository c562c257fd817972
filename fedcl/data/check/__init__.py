"""What `fedcl check` finds in a data folder, and the card that a site hands over."""
