package pixels

import "parley/nets/pixels/lcms"

func toSRGB(icc []byte, r *raster) ([]uint8, error) { return lcms.SRGB(icc, r.pix, r.n) }
