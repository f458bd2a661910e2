// Tiles of AMX: a thread's configuration of them.
#include <immintrin.h>

#include "simd/kernels.hpp"

namespace edge_ad {
namespace {

// Intel SDM vol. 1, 18.2: palette 1 has eight tiles of up to 16 rows of 64 bytes.
struct alignas(64) TileConfig {
    std::uint8_t palette, start_row, reserved[14];
    std::uint16_t row_bytes[16];
    std::uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == kStateBytes);

constexpr TileConfig kConfig = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

// Another user of the thread's tiles may rely on the configuration, though not on the contents.
void begin_tiles(void* state) {
    _tile_storeconfig(state);
    _tile_loadconfig(&kConfig);
}

void end_tiles(void* state) {
    if (static_cast<const TileConfig*>(state)->palette == 0) {
        _tile_release();
    } else {
        _tile_loadconfig(state);
    }
}

}  // namespace
}  // namespace edge_ad
