"""What can be asked for, one family of paths in each module; handlers are a few steps over the app's public calls."""
