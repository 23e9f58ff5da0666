// SPDX-License-Identifier: Apache-2.0
// libgemel's Node: a LocalNode with its loop, and the way there for calls of any thread.
//
// Everything of the engine belongs to the loop's thread. A call of the program's becomes a task for
// it; what the program may ask without waiting (roles, sizes, status) is kept beside, in atomics
// and under a mutex that is never held while anything else is called.
#pragma once

#include "engine/io/uring/uring_loop.hpp"

#include "node/embedded_mirror.hpp"
#include "node/local_node.hpp"
#include "node/state_directory.hpp"
#include <atomic>
#include <future>
#include <gemel/node.hpp>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace gemel {

class EmbeddedNode final : public libgemel::Node, private EmbeddedContext {
   public:
    explicit EmbeddedNode(const libgemel::NodeOptions& options);
    ~EmbeddedNode() override;

    // False: `why`; nothing runs.
    bool open(std::string& why);

    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    [[nodiscard]] std::size_t mirror_count() const noexcept override { return mirrors_.size(); }
    [[nodiscard]] libgemel::Mirror& mirror(std::size_t index) noexcept override {
        return *mirrors_[index];
    }
    [[nodiscard]] libgemel::Mirror* find_mirror(std::string_view name) noexcept override;
    [[nodiscard]] int descriptor() const noexcept override { return descriptor_; }
    void dispatch() override;

   private:
    class Log;

    bool read_config(std::string& why);
    bool prepare_directories(std::string& why);
    bool make_loop(std::string& why);
    bool start_node(std::string& why);
    // Of the engine's own thread; tells open() how it went, then runs until the end.
    void run();
    // Hands over, ends everything of the loop's and the loop.
    void end() noexcept;
    void forget_hosts() noexcept;

    // EmbeddedContext
    void run_on_loop(std::function<void()> task) override;
    void emit(const libgemel::Event& event) noexcept override;

    void refresh(std::size_t mirror);
    void on_notice(const std::string& mirror, const std::string& kind, const std::string& text);

    const libgemel::NodeOptions options_;
    std::string name_;
    std::string state_directory_, run_directory_;
    std::optional<Config> config_;
    DirectoryLock lock_;
    std::unique_ptr<Log> log_;
    std::unique_ptr<UringLoop> loop_;
    std::vector<std::unique_ptr<EmbeddedMirror>> mirrors_;
    std::unique_ptr<LocalNode> node_;
    bool started_ = false;  // node_ takes part
    int descriptor_ = -1;

    std::atomic<std::size_t> tasks_{0};  // given to the loop, not run yet
    std::thread thread_;
    std::promise<void> may_end_;
    std::thread::id loop_thread_;  // written before any request can come
    bool in_turn_ = false;         // loop's thread only
};

}  // namespace gemel
