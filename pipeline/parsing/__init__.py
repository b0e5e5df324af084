"""Human parsing: from an image to a label map, a clothes mask, and the shielding and clothes images."""
