"""Development package of the fast CarRacing renderer."""
