"""Changes of an exported graph that FINN does not make: one spelling where it knows only one.

Each function changes an ONNX graph in place, keeps what it computes, and gives a line for each change. They need
neither FINN nor qonnx. `onnx_edit` is the view of a graph that they share.

* `pixels`: a first input without a quantiser becomes whole pixels times one scale; its offset goes behind the product
* `pools`: a max-pool goes behind the rising functions and the quantiser that follow it
* `rising`: any rising function in front of a quantiser becomes thresholds
* `window_means`: averages of windows are depthwise convolutions with weights of 1
* `windows`: strides and kernels fit their maps
* `scales`: equal scales of a quantiser's channels become one
* `flat_quantisers`: a Flatten between a convolution and its quantiser goes behind it
* `flat_images`: a colour image that is laid flat comes in the order in which a board sends it
* `four_axes`: convolutions and pools over one axis get a second one of size 1
"""
