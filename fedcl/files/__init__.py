"""Files that appear whole or not at all, and chains of lines that show every change."""
