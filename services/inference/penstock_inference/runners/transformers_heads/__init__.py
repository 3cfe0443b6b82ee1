"""What the models of Hugging Face's folders do, one module for each kind of what they read and write."""
