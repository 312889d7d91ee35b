/* Events: where the spikes of an image are, and how many operations they trigger.
 *
 * A spike is the byte 1. The list of an image names for every spike, in the order y, x, channel, the weights that it meets:
 * `(x * channels + channel) * row`, counted from the weights of the pixel at x = 0. So the events of neighboring pixels of
 * a row lie side by side, and a window of a row is one run of the list.
 */
#pragma once
#include "common.h"

/* One image, channels last, of which a group of channels is looked at. Squares of `pool` by `pool` pixels meet the same
 * weights and are one pixel here: `height` and `width` are those of squares. */
struct image {
    int64_t height, width, channels, group_channels, pool;
};

/* Lists the events of the group that begins at `s`; `starts[y * width + x]` is where those of a pixel begin, and one
 * more says where the last end. `list` has room for all bytes and 32 more. Returns the number of events. */
int64_t nd_list_shorts(const uint8_t *s, const struct image *image, int64_t row, uint16_t *list, uint32_t *starts);
int64_t nd_list_ints(const uint8_t *s, const struct image *image, int64_t row, uint32_t *list, uint32_t *starts);
