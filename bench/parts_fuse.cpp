// SPDX-License-Identifier: Apache-2.0
// The kernel's side: taking a request apart, putting an answer together.
#include "bench/parts.hpp"
#include "bench/posix_file.hpp"
#include "frontends/fuse/codec.hpp"

#include <benchmark/benchmark.h>

#include <cstring>
#include <sys/stat.h>

namespace gemel::bench {
namespace {

using namespace fuse;

constexpr std::size_t kListingSize = 128 * kKiB;  // what the kernel asks for at most

template <typename T>
void append(ByteBuffer& buffer, const T& value) {
    const Bytes raw = std::as_bytes(std::span(&value, 1));
    buffer.insert(buffer.end(), raw.begin(), raw.end());
}

void decode_write(benchmark::State& state) {
    Buffer data(4 * kKiB, 1);
    ByteBuffer request;
    append(request, InHeader{});
    WriteIn head{};
    head.size = static_cast<std::uint32_t>(data.space().size());
    append(request, head);
    request.insert(request.end(), data.space().begin(), data.space().end());
    for (auto _ : state) {
        Body body(request);
        benchmark::DoNotOptimize(body.take<InHeader>());
        const auto in = body.take<WriteIn>();
        benchmark::DoNotOptimize(body.bytes(in.size));
        if (!body.ok()) state.SkipWithError("refused");
    }
}

void decode_lookup(benchmark::State& state) {
    ByteBuffer request;
    append(request, InHeader{});
    const Bytes name = as_bytes("a_name_of_usual_length.cpp");
    request.insert(request.end(), name.begin(), name.end());
    request.push_back(std::byte{0});
    for (auto _ : state) {
        Body body(request);
        benchmark::DoNotOptimize(body.take<InHeader>());
        if (name_error(body.string()) != 0 || !body.ok()) state.SkipWithError("refused");
    }
}

Attributes some_attributes() {
    Attributes attributes;
    attributes.id = ObjectId::make(3, 4711);
    attributes.stat.mode = S_IFREG | 0644;
    attributes.stat.size = 12'345;
    attributes.stat.link_count = 1;
    return attributes;
}

void encode_entry(benchmark::State& state) {
    const Attributes attributes = some_attributes();
    for (auto _ : state) {
        EntryOut entry{};
        entry.nodeid = attributes.id.value;
        fill_attr(attributes, entry.attr);
        benchmark::DoNotOptimize(entry);
    }
}

void encode_listing(benchmark::State& state, bool plus) {
    ByteBuffer space(kListingSize);
    EntryOut entry{};
    fill_attr(some_attributes(), entry.attr);
    std::int64_t count = 0;
    for (auto _ : state) {
        DirentWriter writer(space, plus);
        std::uint64_t next = 0;
        while (writer.add("a_name_of_usual_length.cpp", next + 16, S_IFREG | 0644, next, entry)) {
            ++next;
        }
        count += static_cast<std::int64_t>(next);
        benchmark::DoNotOptimize(writer.filled().data());
    }
    state.SetItemsProcessed(count);
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kListingSize));
}

}  // namespace

void add_fuse_parts() {
    using benchmark::RegisterBenchmark;
    RegisterBenchmark("fuse_decode/write_4k", decode_write);
    RegisterBenchmark("fuse_decode/lookup", decode_lookup);
    RegisterBenchmark("fuse_encode/entry", encode_entry);
    RegisterBenchmark("fuse_encode/readdir", encode_listing, false);
    RegisterBenchmark("fuse_encode/readdirplus", encode_listing, true);
}

}  // namespace gemel::bench
