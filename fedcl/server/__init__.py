"""What runs outside the hospitals: the round loop and its rules; it never sees a participant."""
