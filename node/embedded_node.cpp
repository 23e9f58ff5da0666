// SPDX-License-Identifier: Apache-2.0
#include "node/embedded_node.hpp"

#include "engine/base/without_signals.hpp"

#include "node/cluster_text.hpp"
#include "node/host_name.hpp"
#include <algorithm>
#include <filesystem>
#include <future>
#include <utility>

namespace gemel {

namespace {

constexpr Duration kPause = Duration::milliseconds(100);

std::string absolute(const std::string& path) {
    return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
}

Duration duration_of(std::chrono::nanoseconds time) { return Duration{time.count()}; }

}  // namespace

class EmbeddedNode::Log final : public LogSink {
   public:
    using Output = std::function<void(libgemel::LogLevel, std::string_view)>;
    explicit Log(const Output& output) : output_(output) {}
    void log(LogLevel level, std::string_view text) noexcept override {
        if (output_) output_(static_cast<libgemel::LogLevel>(level), text);
    }

   private:
    static_assert(static_cast<int>(LogLevel::debug) == static_cast<int>(libgemel::LogLevel::debug));
    static_assert(static_cast<int>(LogLevel::error) == static_cast<int>(libgemel::LogLevel::error));
    const Output& output_;
};

EmbeddedNode::EmbeddedNode(const libgemel::NodeOptions& options)
    : options_(options),
      name_(options.node.empty() ? host_name() : options.node),
      state_directory_(absolute(options.state_directory)),
      run_directory_(absolute(options.run_directory)),
      log_(std::make_unique<Log>(options_.on_log)) {}

EmbeddedNode::~EmbeddedNode() {
    if (thread_.joinable()) {
        loop_->stop();
        may_end_.set_value();
        thread_.join();
    } else {
        end();
    }
}

// --- Opening -------------------------------------------------------------------------------------

bool EmbeddedNode::open(std::string& why) {
    if (!read_config(why) || !prepare_directories(why)) return false;
    const WithoutSignals masked;
    if (options_.threads == libgemel::Threads::caller) {
        if (make_loop(why) && start_node(why)) {
            descriptor_ = loop_->descriptor();
            return true;
        }
        end();
        return false;
    }
    const auto opened = std::make_shared<std::promise<bool>>();
    thread_ = std::thread([this, opened, &why] {
        const bool started = make_loop(why) && start_node(why);
        if (!started) end();
        in_turn_ = true;
        opened->set_value(started);
        if (started) run();
    });
    if (opened->get_future().get()) return true;
    thread_.join();
    return false;
}

bool EmbeddedNode::read_config(std::string& why) {
    const bool from_file = !options_.config_file.empty();
    const bool from_text = !options_.config_text.empty();
    if (from_file + from_text + options_.cluster.has_value() != 1) {
        why = "exactly one of config_file, config_text and cluster has to be given";
        return false;
    }
    ConfigContext context;
    context.state_directory = state_directory_;
    context.run_directory = run_directory_;
    ConfigResult result =
        from_file ? load_config(options_.config_file, context)
                  : parse_config(from_text ? options_.config_text : cluster_text(*options_.cluster),
                                 "config_text", context);
    why.clear();
    for (const ConfigError& error : result.errors) {
        if (!why.empty()) why += '\n';
        // Lines and columns of a text that nobody has written help nobody.
        why += options_.cluster ? error.sentence : error.to_string();
    }
    if (!result.config) return false;
    config_ = std::move(result.config);
    if (config_->find_node(name_) == nullptr) {
        why = "the configuration has no [node." + name_ + ']';
        return false;
    }
    for (const MirrorConfig& mirror : config_->mirrors) {
        if (!mirror.has_node(name_) || mirror.directories.empty()) continue;
        why = "mirror '" + mirror.name +
              "' has directories, which need gemeld and its mounts: a program can be a node for "
              "mirrors of block volumes only";
        return false;
    }
    return true;
}

bool EmbeddedNode::prepare_directories(std::string& why) {
    if (!make_directory(state_directory_, why)) return false;
    if (!run_directory_.empty() && !make_directory(run_directory_, why)) return false;
    return lock_.take(state_directory_, why);
}

bool EmbeddedNode::make_loop(std::string& why) {
    loop_thread_ = std::this_thread::get_id();
    UringLoop::Options options;
    options.spin_max = duration_of(options_.spin);
    options.polled = options_.threads == libgemel::Threads::caller;
    auto loop = UringLoop::create(options);
    if (!loop.ok()) {
        why = "no io_uring here (" + loop.status().to_string() +
              "): it needs Linux 6.1 and kernel.io_uring_disabled = 0";
        return false;
    }
    loop_ = std::move(loop).value();
    return true;
}

bool EmbeddedNode::start_node(std::string& why) {
    for (const MirrorConfig& mirror : config_->mirrors) {
        if (!mirror.has_node(name_)) continue;
        mirrors_.push_back(
            std::make_unique<EmbeddedMirror>(static_cast<EmbeddedContext&>(*this), mirror));
    }
    LocalNode::Options options;
    options.node = name_;
    options.state_directory = state_directory_;
    options.run_directory = run_directory_;
    options.make_front_end = [this](const MirrorConfig& mirror, Application&) {
        auto* embedded = static_cast<EmbeddedMirror*>(find_mirror(mirror.name));
        return embedded->make_front_end(*loop_, duration_of(options_.end_limit));
    };
    options.on_open = [this](MirrorHost& host) {
        static_cast<EmbeddedMirror*>(find_mirror(host.name()))->open(host);
    };
    options.on_step = [this](std::size_t index) { refresh(index); };
    options.on_event = [this](const std::string& mirror, LogLevel, const std::string& kind,
                              const std::string& text) { on_notice(mirror, kind, text); };
    node_ = std::make_unique<LocalNode>(*loop_, *log_, *config_, std::move(options));
    started_ = node_->start(why);
    return started_;
}

// --- Running -------------------------------------------------------------------------------------

void EmbeddedNode::run() {
    loop_->run();
    // Whoever stopped the loop may still be in that call: the loop stays until it has returned.
    may_end_.get_future().wait();
    end();
}

void EmbeddedNode::dispatch() {
    GEMEL_ASSERT(options_.threads == libgemel::Threads::caller);
    GEMEL_ASSERT(std::this_thread::get_id() == loop_thread_ && !in_turn_);
    in_turn_ = true;
    loop_->dispatch();
    in_turn_ = false;
}

void EmbeddedNode::run_on_loop(std::function<void()> task) {
    tasks_.fetch_add(1);
    auto counted = [this, task = std::move(task)] {
        tasks_.fetch_sub(1);
        task();
    };
    if (std::this_thread::get_id() == loop_thread_ && in_turn_) {
        loop_->post(std::move(counted));
    } else {
        loop_->run_from_any_thread(std::move(counted));
    }
}

void EmbeddedNode::emit(const libgemel::Event& event) noexcept {
    if (options_.on_event) options_.on_event(event);
}

libgemel::Mirror* EmbeddedNode::find_mirror(std::string_view name) noexcept {
    const auto found = std::find_if(mirrors_.begin(), mirrors_.end(),
                                    [&](const auto& mirror) { return mirror->name() == name; });
    return found == mirrors_.end() ? nullptr : found->get();
}

void EmbeddedNode::refresh(std::size_t mirror) {
    mirrors_[mirror]->refresh(node_->mirror_status(mirror));
}

void EmbeddedNode::on_notice(const std::string& mirror, const std::string& kind,
                             const std::string& text) {
    run_on_loop([this, mirror, kind, text] {
        if (auto* known = static_cast<EmbeddedMirror*>(find_mirror(mirror))) {
            known->notice(kind, text);
        }
    });
}

// --- The end -------------------------------------------------------------------------------------

void EmbeddedNode::end() noexcept {
    if (loop_ == nullptr) return;
    if (started_) {
        for (const auto& mirror : mirrors_) mirror->leave();
        bool stopped = false;
        node_->stop([&stopped] { stopped = true; });
        while (!stopped) loop_->turn(kPause);
    } else {
        forget_hosts();
    }
    if (node_ != nullptr) node_->close();
    const auto is_used = [](const auto& mirror) { return mirror->running() > 0; };
    while (loop_->in_flight() > 0 || std::any_of(mirrors_.begin(), mirrors_.end(), is_used)) {
        loop_->turn(kPause);
    }
    forget_hosts();
    node_.reset();
    // What the program has asked for meanwhile is answered; then what was posted goes.
    do {
        loop_->turn(Duration{});
    } while (tasks_.load() > 0);
    loop_->turn(Duration{});
    loop_.reset();
}

void EmbeddedNode::forget_hosts() noexcept {
    for (const auto& mirror : mirrors_) mirror->close();
}

}  // namespace gemel

namespace libgemel {

std::unique_ptr<Node> open_node(const NodeOptions& options, std::string& why) {
    auto node = std::make_unique<gemel::EmbeddedNode>(options);
    if (!node->open(why)) return nullptr;
    return node;
}

}  // namespace libgemel
