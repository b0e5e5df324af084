"""Features of images: the one way from rows of the shards to what is compared, and the files that hold it."""
