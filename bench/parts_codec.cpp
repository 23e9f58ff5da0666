// SPDX-License-Identifier: Apache-2.0
// What every op passes through on its way to the other node.
#include "bench/parts.hpp"
#include "bench/posix_file.hpp"
#include "engine/base/checksum.hpp"
#include "engine/mirror/op_codec.hpp"
#include "netdev/frame_codec.hpp"
#include "resync/chunk.hpp"
#include "resync/messages.hpp"

#include <benchmark/benchmark.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#endif
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

namespace gemel::bench {
namespace {

constexpr std::int64_t kSmall = 4 * kKiB;
constexpr std::int64_t kLarge = kMiB;

constexpr std::uint64_t kHashSeed = 17;  // none of ours goes without

// The widest instructions of this processor.
#if defined(__x86_64__)
constexpr auto best_xxh3_64 = XXH3_64bits_dispatch;
constexpr auto best_xxh3_128 = XXH3_128bits_dispatch;
#else
constexpr auto best_xxh3_64 = XXH3_64bits;
constexpr auto best_xxh3_128 = XXH3_128bits;
#endif

void count_bytes(benchmark::State& state, std::size_t each) {
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(each));
}

Op write_op(Bytes data) {
    Op op;
    op.kind = OpKind::write;
    op.object = ObjectId::make(3, 4711);
    op.offset = 12 * kMiB;
    op.size = data.size();
    op.data = data;
    op.modified = {1'700'000'000, 123};
    op.resolved.modified = op.modified;
    return op;
}

Op create_op() {
    Op op;
    op.kind = OpKind::create;
    op.object = ObjectId::make(3, 4711);
    op.parent = ObjectId::make(3, 17);
    op.name = "a_name_of_usual_length.cpp";
    op.mode = S_IFREG | 0644;
    op.resolved.mode = op.mode;
    return op;
}

// ---- limits -------------------------------------------------------------------------------

void copy_memory(benchmark::State& state) {
    const auto size = static_cast<std::size_t>(state.range(0));
    Buffer from(size, 1);
    Buffer to(size, 2);
    for (auto _ : state) {
        std::memcpy(to.space().data(), from.space().data(), size);
        benchmark::ClobberMemory();
    }
    count_bytes(state, size);
}

void raw_hash_64(benchmark::State& state) {
    Buffer data(static_cast<std::size_t>(state.range(0)), 1);
    for (auto _ : state) {
        benchmark::DoNotOptimize(best_xxh3_64(data.space().data(), data.space().size()));
    }
    count_bytes(state, data.space().size());
}

void raw_hash_128(benchmark::State& state) {
    Buffer data(static_cast<std::size_t>(state.range(0)), 1);
    for (auto _ : state) {
        benchmark::DoNotOptimize(best_xxh3_128(data.space().data(), data.space().size()));
    }
    count_bytes(state, data.space().size());
}

void hash_64(benchmark::State& state) {
    Buffer data(static_cast<std::size_t>(state.range(0)), 1);
    for (auto _ : state) benchmark::DoNotOptimize(checksum64(data.space(), kHashSeed));
    count_bytes(state, data.space().size());
}

void hash_128(benchmark::State& state) {
    Buffer data(static_cast<std::size_t>(state.range(0)), 1);
    for (auto _ : state) benchmark::DoNotOptimize(digest128(data.space(), kHashSeed));
    count_bytes(state, data.space().size());
}

// A MiB of a file as a resync compares it: the digests of its blocks, and that of them.
void resync_digests(benchmark::State& state) {
    Chunk chunk;
    chunk.size = kChunkSizeMax;
    chunk.segments = {{0, static_cast<std::uint32_t>(kChunkSizeMax)}};
    chunk.data.resize(kChunkSizeMax, std::byte{1});
    for (auto _ : state) {
        const std::vector<Digest128> blocks = chunk.block_digests();
        benchmark::DoNotOptimize(digest_of(chunk.size, blocks));
    }
    count_bytes(state, chunk.data.size());
}

// The answer to a check of a MiB that differs, there and back.
void resync_answer_codec(benchmark::State& state) {
    ItemAnswer answer;
    answer.number = 1;
    answer.verdict = Verdict::want;
    answer.blocks.resize(kChunkBlocksMax);
    ByteBuffer payload;
    for (auto _ : state) {
        payload.clear();
        encode_answer(answer, payload);
        benchmark::DoNotOptimize(decode_answers(payload));
    }
}

// 64 changed blocks of a file, there and back.
void resync_content_codec(benchmark::State& state) {
    ContentItem item;
    item.head.number = 1;
    item.head.object = kFirstObject;
    item.partial = true;
    item.size = kPartialSpanMax;
    for (std::uint32_t i = 0; i < 64; ++i) {
        const auto begin = static_cast<std::uint32_t>(i * 2 * kChunkBlock);
        item.segments.push_back({begin, begin + static_cast<std::uint32_t>(kChunkBlock)});
    }
    ByteBuffer payload;
    for (auto _ : state) {
        payload.clear();
        encode_content(item, payload);
        payload.resize(payload.size() + 64 * kChunkBlock);
        benchmark::DoNotOptimize(decode_content(payload));
    }
}

// The begin of this program's own file: content that shrinks as files do.
ByteBuffer real_content() {
    ByteBuffer content(kMiB);
    PosixFile("/proc/self/exe", O_RDONLY).read_at(content, 0);
    return content;
}

void compress(benchmark::State& state) {
    const ByteBuffer plain = real_content();
    ByteBuffer packed(ZSTD_compressBound(plain.size()));
    std::size_t size = 0;
    for (auto _ : state) {
        size = ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(),
                             static_cast<int>(state.range(0)));
    }
    count_bytes(state, plain.size());
    state.counters["ratio"] = static_cast<double>(plain.size()) / static_cast<double>(size);
}

void decompress(benchmark::State& state) {
    ByteBuffer plain = real_content();
    ByteBuffer packed(ZSTD_compressBound(plain.size()));
    packed.resize(ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), 1));
    for (auto _ : state) {
        ZSTD_decompress(plain.data(), plain.size(), packed.data(), packed.size());
    }
    count_bytes(state, plain.size());
}

// ---- frames and ops -----------------------------------------------------------------------

// A whole write op as it goes out: its head, the frame's header, both checksums.
ByteBuffer encode_frame(const Op& op, std::uint64_t sequence, ByteBuffer& head) {
    head.clear();
    encode_op(op, sequence, head);
    FrameHeader header{};
    header.type = FrameType::op;
    header.version = 1;
    header.session = 5;
    header.sequence = sequence;
    header.head_size = static_cast<std::uint32_t>(head.size());
    header.body_size = static_cast<std::uint32_t>(head.size() + op.data.size());
    header.plain_size = header.body_size;
    seal_frame(header, head, op.data);
    ByteBuffer out(sizeof header + head.size());
    std::memcpy(out.data(), &header, sizeof header);
    std::memcpy(out.data() + sizeof header, head.data(), head.size());
    return out;
}

void frame_encode(benchmark::State& state) {
    Buffer data(static_cast<std::size_t>(state.range(0)), 1);
    const Op op = write_op(data.space());
    ByteBuffer head;
    std::uint64_t sequence = 0;
    for (auto _ : state) benchmark::DoNotOptimize(encode_frame(op, sequence++, head));
    count_bytes(state, op.data.size());
}

// The frame in one piece, or in pieces of what a socket gives at once.
void decode_in_pieces(benchmark::State& state, std::size_t piece) {
    Buffer data(static_cast<std::size_t>(state.range(0)), 1);
    const Op op = write_op(data.space());
    ByteBuffer head;
    ByteBuffer frame = encode_frame(op, 0, head);
    frame.insert(frame.end(), op.data.begin(), op.data.end());
    for (auto _ : state) {
        FrameParser parser({1, 5, kFrameSizeMax, 0});
        for (Bytes left = frame; !left.empty();) {
            Bytes part = left.first(std::min(piece, left.size()));
            left = left.subspan(part.size());
            const auto whole = parser.next(part);
            if (!whole.has_value()) continue;
            benchmark::DoNotOptimize(decode_op(whole->payload));
            break;
        }
        if (parser.error() != nullptr) state.SkipWithError(parser.error());
    }
    count_bytes(state, op.data.size());
}

void frame_decode(benchmark::State& state) { decode_in_pieces(state, kFrameSizeMax); }
void frame_decode_pieces(benchmark::State& state) { decode_in_pieces(state, 64 * kKiB); }

void op_encode(benchmark::State& state, const Op& op) {
    ByteBuffer head;
    for (auto _ : state) {
        head.clear();
        encode_op(op, 1, head);
        benchmark::DoNotOptimize(head.data());
    }
}

void op_decode(benchmark::State& state, const Op& op) {
    ByteBuffer payload;
    encode_op(op, 1, payload);
    payload.insert(payload.end(), op.data.begin(), op.data.end());
    for (auto _ : state) {
        const auto decoded = decode_op(payload);
        if (!decoded.ok()) state.SkipWithError("refused");
        benchmark::DoNotOptimize(decoded);
    }
}

}  // namespace

void add_codec_parts() {
    using benchmark::RegisterBenchmark;
    RegisterBenchmark("limit_memcpy", copy_memory)->Arg(kSmall)->Arg(kLarge)->Arg(64 * kLarge);
    RegisterBenchmark("limit_xxh3_64", raw_hash_64)->Arg(kSmall)->Arg(kLarge);
    RegisterBenchmark("checksum64", hash_64)->Arg(kSmall)->Arg(kLarge);
    RegisterBenchmark("limit_xxh3_128", raw_hash_128)->Arg(kSmall)->Arg(kLarge);
    RegisterBenchmark("digest128", hash_128)->Arg(kSmall)->Arg(kLarge);
    RegisterBenchmark("frame_encode", frame_encode)->Arg(kSmall)->Arg(kLarge);
    RegisterBenchmark("frame_decode", frame_decode)->Arg(kSmall)->Arg(kLarge);
    RegisterBenchmark("frame_decode_pieces", frame_decode_pieces)->Arg(kLarge);
    static constexpr std::array<std::byte, kSmall> kData{};
    RegisterBenchmark("op_encode/write", op_encode, write_op(kData));
    RegisterBenchmark("op_decode/write", op_decode, write_op(kData));
    RegisterBenchmark("op_encode/create", op_encode, create_op());
    RegisterBenchmark("op_decode/create", op_decode, create_op());
    RegisterBenchmark("resync_digests", resync_digests);
    RegisterBenchmark("resync_answer_codec", resync_answer_codec);
    RegisterBenchmark("resync_content_codec", resync_content_codec);
    RegisterBenchmark("zstd_compress/level", compress)->Arg(1)->Arg(4)->Arg(-5);
    RegisterBenchmark("zstd_decompress", decompress);
}

}  // namespace gemel::bench
