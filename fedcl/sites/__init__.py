"""What runs inside a hospital: the Flower client app, the site's cohort and its memory on disk."""
