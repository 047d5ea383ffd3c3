// The part of libwebp that Go calls: the first frame of a WebP on its canvas, as RGBA.
#include <stdint.h>
#include <stdlib.h>

#include "webp/decode.h"
#include "webp/demux.h"

#define IMPORT(name) __attribute__((import_module("host"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("fail") _Noreturn void fail(const char *message); // does not return: Go unwinds
IMPORT("size") void size(int width, int height, int alpha);

EXPORT("alloc") void *alloc(unsigned n) { return malloc(n); }

EXPORT("decode") const uint8_t *decode(const uint8_t *data, unsigned n) {
  WebPBitstreamFeatures f;
  VP8StatusCode status = WebPGetFeatures(data, n, &f);
  if (status == VP8_STATUS_NOT_ENOUGH_DATA) fail("the file is cut short");
  if (status != VP8_STATUS_OK) fail("not a valid header");
  size(f.width, f.height, f.has_alpha);
  WebPData d = {data, n};
  WebPAnimDecoderOptions o;
  WebPAnimDecoderOptionsInit(&o);
  o.use_threads = 0;
  o.color_mode = MODE_RGBA;
  WebPAnimDecoder *dec = WebPAnimDecoderNew(&d, &o);
  uint8_t *canvas;
  int when;
  if (!dec) fail("not a valid file, or cut short");
  if (!WebPAnimDecoderGetNext(dec, &canvas, &when)) fail("the first frame does not decode");
  return canvas;
}
