"""What left a site: one line for each release, in a chain that the site keeps."""
