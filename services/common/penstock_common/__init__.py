"""Code that Penstock's services share. It imports none of them."""
