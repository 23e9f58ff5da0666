// SPDX-License-Identifier: Apache-2.0
// An application of a block volume: several requests at a time, of any alignment, that overlap one
// another, and flushes. It knows of every sector which contents are possible: what was written and
// may have taken effect after everything that was answered before it had been begun. Sectors are
// what a power cut tears. At times it has the volume grow, and uses what it got.
#pragma once

#include "engine/io/sim/file_system.hpp"
#include "engine/io/sim/world.hpp"
#include "engine/mirror/replica.hpp"
#include "tests/sim/workload.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace gemel::sim {

class BlockClient {
   public:
    static constexpr std::uint64_t kSector = 512;
    static constexpr std::uint16_t kVolume = 1;

    // Requires: as Workload.
    BlockClient(World& world, std::uint64_t volume_size, std::function<SimMount*()> serving,
                std::function<void(const std::string&)> fail);

    // sync = "fsync": whenever another mount serves, what was not flushed may be lost.
    void expect_early_answers() noexcept { answers_early_ = true; }
    // Called when it is told by a primary that the volume has grown; what is wrong then, or
    // nothing.
    void set_growth_check(std::function<std::string(std::uint64_t size)> check) {
        check_growth_ = std::move(check);
    }
    void start();
    void stop() noexcept { stopped_ = true; }
    [[nodiscard]] bool is_idle() const noexcept;
    // Every node that held all that was answered has lost its memory.
    void unflushed_may_be_lost();
    // Looks at everything it has ever written to. Requires: is_idle().
    void verify(SimMount& mount);
    [[nodiscard]] std::uint64_t answered() const noexcept { return answered_; }
    // What it was told last that the volume has.
    [[nodiscard]] std::uint64_t volume_size() const noexcept { return volume_size_; }
    [[nodiscard]] std::uint64_t grown() const noexcept { return grown_; }  // times

   private:
    static constexpr std::uint64_t kStretch = 64;  // sectors
    static constexpr std::uint64_t kNever = ~std::uint64_t{0};

    // A content that a sector may have. Times are counted in beginnings and ends of requests.
    struct Version {
        std::uint64_t value = 0;  // 0: zeros
        std::uint64_t began = 0, ended = 0;
    };
    using Versions = std::vector<Version>;
    struct Sector {
        Versions possible{{}};
        Versions kept{{}};  // what may be left when memory is lost
    };
    struct Request {
        std::uint64_t began = 0;
        std::uint64_t generation = 0;
        const SimMount* mount = nullptr;
        std::uint64_t first = 0, count = 0;  // of known_; none: a flush
        bool over = false;
        std::vector<Versions> snapshot;  // flush: what was possible of every sector
    };

    void schedule();
    void step();
    void act(SimMount& mount);
    void give_up_lost();
    void note_takeover(const SimMount& mount);
    void change(SimMount& mount);
    void flush(SimMount& mount);
    void grow(SimMount& mount);
    [[nodiscard]] bool has_its_size(SimMount& mount);
    std::shared_ptr<Request> begin(SimMount& mount);
    void end(Request& request, Status status);
    void flushed(const Request& request);
    void look(SimMount& mount, std::uint64_t index);
    [[nodiscard]] std::uint64_t offset_of(std::uint64_t index) const;
    Prng& prng() { return world_.prng(); }

    World& world_;
    std::function<SimMount*()> serving_;
    std::function<void(const std::string&)> fail_;
    std::function<std::string(std::uint64_t size)> check_growth_;
    std::vector<std::uint64_t> stretches_;  // where the requests go: bytes
    std::vector<Sector> known_;             // of the stretches, one behind the other
    std::vector<std::shared_ptr<Request>> under_way_;
    std::uint64_t clock_ = 0;
    Instant rests_until_;
    bool stopped_ = true;
    bool scheduled_ = false;
    std::uint64_t answered_ = 0;
    std::uint64_t volume_size_;
    std::uint64_t grown_ = 0;
    bool growing_ = false;
    bool answers_early_ = false;
    const SimMount* used_ = nullptr;  // last, and its generation
    std::uint64_t used_generation_ = 0;
};

// The first `size` bytes of both backings; a sentence, or nothing when they are equal.
std::string compare_backings(FileSystem& left, FileSystem& right, std::string_view name,
                             std::uint64_t size);

}  // namespace gemel::sim
