// SPDX-License-Identifier: Apache-2.0
// What is asked and noted for every op: dirty map, intent log, object index.
#include "bench/parts.hpp"
#include "bench/posix_file.hpp"
#include "engine/base/prng.hpp"
#include "engine/io/uring/uring_loop.hpp"
#include "engine/store/dirty_map.hpp"
#include "engine/store/intent_log.hpp"
#include "engine/store/object_index.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <fcntl.h>
#include <memory>
#include <stdexcept>
#include <sys/stat.h>

namespace gemel::bench {
namespace {

constexpr std::uint64_t kSeed = 1;
constexpr std::uint64_t kFileSize = kGiB;

ObjectId object(std::uint64_t number) { return ObjectId::make(1, 16 + number); }

template <typename T>
T value_or_throw(Result<T> result) {
    if (!result.ok()) throw std::runtime_error(result.status().to_string());
    return std::move(result).value();
}

class Silent final : public LogSink {
   public:
    void log(LogLevel, std::string_view) noexcept override {}
};

// ---- dirty map ----------------------------------------------------------------------------

// A map in which `objects` files have as many dirty ranges as one can have.
DirtyMap full_map(std::int64_t objects) {
    DirtyMap map;
    for (std::int64_t i = 0; i < objects; ++i) {
        for (std::uint64_t range = 0; range < DirtyRanges::kRangesMax; ++range) {
            map.mark_content(object(static_cast<std::uint64_t>(i)), range * 4 * kDirtyUnit, 1);
        }
    }
    return map;
}

void dirty_mark(benchmark::State& state) {
    DirtyMap map = full_map(state.range(0));
    Prng prng(kSeed);
    const auto objects = static_cast<std::uint64_t>(state.range(0));
    for (auto _ : state) {
        map.mark_content(object(prng.below(objects)), prng.below(kFileSize), 4 * kKiB);
    }
}

// One large file that is changed all over: blocks of 4 KiB anywhere in it.
void dirty_mark_anywhere(benchmark::State& state) {
    const auto blocks = static_cast<std::uint64_t>(state.range(0));
    DirtyMap map;
    Prng prng(kSeed);
    for (auto _ : state) {
        map.mark_content(object(0), prng.below(blocks) * 2 * kDirtyUnit, kDirtyUnit);
    }
}

void dirty_ask(benchmark::State& state) {
    const DirtyMap map = full_map(state.range(0));
    Prng prng(kSeed);
    const auto objects = static_cast<std::uint64_t>(state.range(0));
    for (auto _ : state) {
        benchmark::DoNotOptimize(
            map.content_dirty(object(prng.below(objects)), prng.below(kFileSize), 4 * kKiB));
    }
}

void dirty_clear_and_mark(benchmark::State& state) {
    DirtyMap map = full_map(state.range(0));
    Prng prng(kSeed);
    const auto objects = static_cast<std::uint64_t>(state.range(0));
    for (auto _ : state) {
        const ObjectId id = object(prng.below(objects));
        const std::uint64_t begin = prng.below(DirtyRanges::kRangesMax) * 4 * kDirtyUnit;
        map.clear_content(id, begin, begin + kDirtyUnit);
        map.mark_content(id, begin, 1);
    }
}

void dirty_next(benchmark::State& state) {
    const DirtyMap map = full_map(state.range(0));
    ObjectId at = kNoObject;
    for (auto _ : state) {
        at = map.next_after(at);
        benchmark::DoNotOptimize(at);
    }
}

// ---- intent log ---------------------------------------------------------------------------

// A loop and a directory on the real file system, and a log in it.
class LogOnDisk {
   public:
    explicit LogOnDisk(const std::filesystem::path& parent)
        : work_(parent, false), loop_(value_or_throw(UringLoop::create({}))) {
        directory_ = ScopedFd(loop_->vfs(),
                              value_or_throw(loop_->vfs().open_directory(work_.path().native())));
        log_ = value_or_throw(IntentLog::open(*loop_, silent_, directory_.get(), Uuid{{1, 2, 3}}));
    }

    IntentLog& log() { return *log_; }
    // Touches and waits until that is durable.
    void touch_durably(std::span<const IntentKey> keys) {
        bool done = false;
        log_->touch(keys);
        log_->commit([&done](Status status) {
            if (!status.ok()) throw std::runtime_error(status.to_string());
            done = true;
        });
        while (!done) loop_->turn(Duration::seconds(1));
    }
    ~LogOnDisk() {
        log_.reset();
        while (loop_->in_flight() > 0) loop_->turn(Duration::milliseconds(10));
    }
    LogOnDisk(const LogOnDisk&) = delete;
    LogOnDisk& operator=(const LogOnDisk&) = delete;

   private:
    WorkDirectory work_;
    Silent silent_;
    std::unique_ptr<UringLoop> loop_;
    ScopedFd directory_;
    std::unique_ptr<IntentLog> log_;
};

void intent_touch_again(benchmark::State& state, const std::filesystem::path& directory) {
    LogOnDisk disk(directory);
    std::vector<IntentKey> keys;
    for (std::uint32_t region = 0; region < 1024; ++region) keys.push_back({object(1), region, 0});
    disk.touch_durably(keys);
    std::size_t next = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(disk.log().touch({&keys[next], 1}));
        next = (next + 1) % keys.size();
    }
}

// `range(0)` ops that each need an intent share a commit.
void intent_commit(benchmark::State& state, const std::filesystem::path& directory) {
    LogOnDisk disk(directory);
    std::uint64_t number = 0;
    std::vector<IntentKey> keys(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        for (IntentKey& key : keys) key = {object(number++), 0, 0};
        disk.touch_durably(keys);
        if (number % 4096 == 0) {
            const std::uint64_t round = disk.log().begin_round();
            disk.log().clear_through(round, 0);
        }
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}

// The limit of the above: one block written in place, and made durable.
void write_and_sync(benchmark::State& state, const std::filesystem::path& directory) {
    const WorkDirectory work(directory, false);
    const PosixFile file(work.path() / "file", O_RDWR | O_CREAT | O_EXCL);
    Buffer block(4096, kSeed);
    file.write_at(block.next(), 0);
    file.sync();
    for (auto _ : state) {
        file.write_at(block.next(), 0);
        file.sync_data();
    }
}

// ---- object index -------------------------------------------------------------------------

constexpr std::uint64_t kIndexed = 100'000;

class IndexOnDisk {
   public:
    explicit IndexOnDisk(const std::filesystem::path& parent) : work_(parent, false), index_(vfs_) {
        directory_ = ScopedFd(vfs_, value_or_throw(vfs_.open_directory(work_.path().native())));
        check(index_.open(directory_.get(), Uuid{{1}}, Uuid{{2}}));
        for (std::uint64_t i = 0; i < kIndexed; ++i) put(i);
    }
    void put(std::uint64_t number) {
        ObjectIndex::Record record;
        record.type = S_IFREG;
        record.handle.type = 1;
        record.handle.size = 8;
        record.handle.bytes[0] = static_cast<std::uint8_t>(number);
        check(index_.put(object(number), record));
    }
    void find(std::uint64_t number) {
        const auto found = index_.find(object(number));
        check(found.status());
        benchmark::DoNotOptimize(found);
    }

   private:
    static void check(Status status) {
        if (!status.ok()) throw std::runtime_error(status.to_string());
    }

    WorkDirectory work_;
    PosixVfs vfs_;
    ScopedFd directory_;
    ObjectIndex index_;
};

void index_find(benchmark::State& state, const std::filesystem::path& directory) {
    IndexOnDisk disk(directory);
    Prng prng(kSeed);
    for (auto _ : state) disk.find(prng.below(kIndexed));
}

void index_put(benchmark::State& state, const std::filesystem::path& directory) {
    IndexOnDisk disk(directory);
    Prng prng(kSeed);
    for (auto _ : state) disk.put(prng.below(kIndexed));
}

// The limit of the index: one small pread of a cached file.
void read_record(benchmark::State& state, const std::filesystem::path& directory) {
    const WorkDirectory work(directory, false);
    const PosixFile file(work.path() / "file", O_RDWR | O_CREAT | O_EXCL);
    Buffer content(kMiB, kSeed);
    file.write_at(content.next(), 0);
    Prng prng(kSeed);
    std::array<std::byte, ObjectIndex::kRecordSize> record;
    for (auto _ : state) file.read_at(record, prng.below(kMiB / record.size()) * record.size());
}

}  // namespace

void add_store_parts(const std::filesystem::path& directory) {
    using benchmark::RegisterBenchmark;
    for (auto* part :
         {RegisterBenchmark("dirty_mark", dirty_mark), RegisterBenchmark("dirty_ask", dirty_ask),
          RegisterBenchmark("dirty_clear_and_mark", dirty_clear_and_mark),
          RegisterBenchmark("dirty_next", dirty_next)}) {
        part->ArgName("objects")->Arg(1)->Arg(1000)->Arg(100'000);
    }
    RegisterBenchmark("dirty_mark_anywhere", dirty_mark_anywhere)
        ->ArgName("blocks")
        ->Arg(100)
        ->Arg(100'000)
        ->Arg(10'000'000);
    RegisterBenchmark("intent_touch_again", intent_touch_again, directory);
    RegisterBenchmark("limit_write_and_fdatasync", write_and_sync, directory)->UseRealTime();
    RegisterBenchmark("intent_commit", intent_commit, directory)
        ->ArgName("ops")
        ->Arg(1)
        ->Arg(16)
        ->UseRealTime();
    RegisterBenchmark("limit_pread_64", read_record, directory);
    RegisterBenchmark("index_find", index_find, directory);
    RegisterBenchmark("index_put", index_put, directory);
}

}  // namespace gemel::bench
