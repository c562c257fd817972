"""Releases and instructions as Flower records; record names and keys live only here."""
