"""What made an artefact: the code, the parameters, the inputs and the libraries, and the key that they add up to."""
