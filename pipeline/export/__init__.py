"""Files for other runtimes: the image encoder as ONNX, measured against the encoder that it was made from."""
