"""Erase the site from features in closed form, from sums that add across sites."""
