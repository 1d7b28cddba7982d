"""From files of images of any kind and size to one array that is read by rows."""
