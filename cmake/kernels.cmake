# File suffix -> GPU targets. x.cu: every GPU; x_sm90.cu: 90a; x_sm120.cu: 120a and 121a. (Filled with the CUDA rows.)
