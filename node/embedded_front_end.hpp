// SPDX-License-Identifier: Apache-2.0
// The front end of a program that embeds the engine: block volumes used by calls.
//
// A request is begun only while the mirror is in use; one that comes at another time ends as
// not_serving, and nothing was done. Draining waits for those under way; an abort does not: the
// engine answers them, and what failed then is of unknown outcome.
#pragma once

#include "engine/base/aligned_buffer.hpp"
#include "engine/io/loop.hpp"
#include "frontends/nbd/replica_export.hpp"

#include "node/mirror_front_end.hpp"
#include <functional>
#include <gemel/volume.hpp>
#include <memory>
#include <string>
#include <vector>

namespace gemel {

// One request of the program's, on its way to the loop and there.
struct EmbeddedRequest {
    ExportRequestKind kind = ExportRequestKind::flush;  // read, write, zero, trim or flush
    std::size_t volume = 0;                             // of the mirror's blocks
    std::uint64_t offset = 0, size = 0;
    MutableBytes target;                                                   // read
    Bytes data;                                                            // write
    libgemel::Durability durability = libgemel::Durability::acknowledged;  // as was asked for
    libgemel::Completion done;
};

// Told on the loop.
class EmbeddedUser {
   public:
    virtual void on_begin_use() noexcept = 0;
    virtual void on_end_use() noexcept = 0;
    // A hand-over begins; it waits for end_use_now() or the limit. Only where there is a limit.
    virtual void on_ending() noexcept = 0;
    virtual void on_size_changed(std::size_t volume) noexcept = 0;

   protected:
    ~EmbeddedUser() = default;
};

class EmbeddedFrontEnd final : public MirrorFrontEnd {
   public:
    // Requires: all references outlive it. `end_limit`: how long a hand-over waits for the program.
    EmbeddedFrontEnd(Loop& loop, const MirrorConfig& mirror, Duration end_limit,
                     EmbeddedUser& user);
    ~EmbeddedFrontEnd() override;

    void begin(EmbeddedRequest request);
    void end_use_now() noexcept;
    // From here on a hand-over waits for nobody.
    void wait_no_more() noexcept {
        end_limit_ = {};
        end_use_now();
    }

    [[nodiscard]] bool is_used() const noexcept { return used_; }
    // Requests that the engine has.
    [[nodiscard]] std::size_t running() const noexcept { return running_; }
    // After attach().
    [[nodiscard]] std::uint64_t size(std::size_t volume) const noexcept;
    [[nodiscard]] ExportLimits limits(std::size_t volume) const noexcept;

    Status prepare(std::string& why) override;
    [[nodiscard]] std::string tree_path(std::size_t directory) const override;
    Status attach(Replica& replica, std::string& why) override;
    void detach() noexcept override;
    void begin_use() noexcept override;
    void end_use(std::function<void()> done) noexcept override;
    void show(MountMode mode, std::function<void(Status, std::string)> done) noexcept override;
    void abort() noexcept override;
    void drain(std::function<void(Status, std::string)> done) noexcept override;

   private:
    class Running;
    struct Volume;

    [[nodiscard]] libgemel::Error judge(const EmbeddedRequest& request) const noexcept;
    void finish(Running& running, Status status) noexcept;
    void stop_use(const char* why) noexcept;
    void report_drained() noexcept;

    Loop& loop_;
    const MirrorConfig& mirror_;
    EmbeddedUser& user_;
    Duration end_limit_;
    std::vector<std::unique_ptr<Volume>> volumes_;
    bool used_ = false;
    std::size_t running_ = 0;
    std::uint64_t shows_ = 0;
    std::function<void()> when_ended_;
    std::function<void(Status, std::string)> when_drained_;
    Timer end_timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

}  // namespace gemel
