"""A plug-in for kerasnn: MLP-Mixer, and checkerboards to tell apart."""
