// Times ggml's own quantizers on rows from a file, on request.
//
//   ggml-speed ROWS.f32 COLUMNS IMPORTANCE.f32
//
// Each line on stdin, `TYPE-ID WITH-IMPORTANCE(0|1) SECONDS`, is answered on stdout by one,
// `MEGABYTES-PER-SECOND FNV-1A-OF-THE-BYTES`: one thread, megabytes of the f32 rows, from at least that
// many seconds. Tables that some types make at first use are made before the clock starts.
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "ggml.h"

static std::vector<float> floats(const char * path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) {
        std::fprintf(stderr, "ggml-speed: could not open %s\n", path);
        std::exit(1);
    }
    std::vector<float> out(file.tellg() / sizeof(float));
    file.seekg(0);
    file.read(reinterpret_cast<char *>(out.data()), out.size() * sizeof(float));
    return out;
}

int main(int argc, char ** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: ggml-speed ROWS.f32 COLUMNS IMPORTANCE.f32\n");
        return 2;
    }
    const auto x = floats(argv[1]), importance = floats(argv[3]);
    const int64_t columns = std::atoll(argv[2]);
    if (columns <= 0 || x.size() % columns != 0 || importance.size() != size_t(columns)) {
        std::fprintf(stderr, "ggml-speed: sizes do not fit\n");
        return 2;
    }
    const int64_t rows = x.size() / columns;

    int id, with;
    double seconds;
    while (std::scanf("%d %d %lf", &id, &with, &seconds) == 3) {
        if (id < 0 || id >= GGML_TYPE_COUNT) {
            std::fprintf(stderr, "ggml-speed: no type %d\n", id);
            return 1;
        }
        const auto type = static_cast<ggml_type>(id);
        std::vector<uint8_t> out(rows * ggml_row_size(type, columns));
        ggml_quantize_init(type);

        using clock = std::chrono::steady_clock;
        const auto start = clock::now();
        std::chrono::duration<double> spent{};
        int64_t rounds = 0;
        do {
            ggml_quantize_chunk(type, x.data(), out.data(), 0, rows, columns, with ? importance.data() : nullptr);
            rounds++;
            spent = clock::now() - start;
        } while (spent.count() < seconds);

        uint64_t hash = 0xcbf29ce484222325;
        for (const uint8_t byte : out) hash = (hash ^ byte) * 0x100000001b3;
        std::printf("%.3f %" PRIu64 "\n", 4e-6 * x.size() * rounds / spent.count(), hash);
        std::fflush(stdout);
    }
    ggml_quantize_free();
    return 0;
}
