// SPDX-License-Identifier: Apache-2.0
// The C API: each function is the C++ one of the same meaning. A handle is the address of the C++
// object; numbers are equal in both (asserted below).
#include "frontends/capi/gemel.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <gemel/node.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

using libgemel::Command;
using libgemel::Error;
using libgemel::EventKind;
using libgemel::State;

struct gemel_node {
    std::unique_ptr<libgemel::Node> node;
};

namespace {

static_assert(static_cast<int>(Error::refused) == GEMEL_REFUSED);
static_assert(static_cast<int>(Error::outcome_unknown) == GEMEL_OUTCOME_UNKNOWN);
static_assert(static_cast<int>(State::stopped) == GEMEL_STATE_STOPPED);
static_assert(static_cast<int>(State::resync) == GEMEL_STATE_RESYNC);
static_assert(static_cast<int>(Command::start) == GEMEL_COMMAND_START);
static_assert(static_cast<int>(Command::resync_full) == GEMEL_COMMAND_RESYNC_FULL);
static_assert(static_cast<int>(EventKind::state) == GEMEL_EVENT_STATE);
static_assert(static_cast<int>(EventKind::notice) == GEMEL_EVENT_NOTICE);
static_assert(static_cast<int>(libgemel::Threads::caller) == GEMEL_THREADS_CALLER);
static_assert(static_cast<int>(libgemel::LogLevel::error) == 3);

// A struct of the soname's first version never changes its size or places.
static_assert(sizeof(gemel_event) == 40 && sizeof(gemel_options) == 80);
static_assert(offsetof(gemel_status, peer) == 56 && sizeof(gemel_status) == 632);

gemel_mirror* handle_of(libgemel::Mirror& mirror) {
    return reinterpret_cast<gemel_mirror*>(&mirror);
}
gemel_volume* handle_of(libgemel::Volume* volume) {
    return reinterpret_cast<gemel_volume*>(volume);
}
libgemel::Mirror& mirror_of(gemel_mirror* handle) {
    return *reinterpret_cast<libgemel::Mirror*>(handle);
}
const libgemel::Mirror& mirror_of(const gemel_mirror* handle) {
    return *reinterpret_cast<const libgemel::Mirror*>(handle);
}
libgemel::Volume& volume_of(gemel_volume* handle) {
    return *reinterpret_cast<libgemel::Volume*>(handle);
}
const libgemel::Volume& volume_of(const gemel_volume* handle) {
    return *reinterpret_cast<const libgemel::Volume*>(handle);
}

std::string text_of(const char* text) { return text == nullptr ? std::string() : text; }

// Cut, and always ended by a 0.
void copy_text(char* to, std::size_t size, std::string_view text) {
    if (to == nullptr || size == 0) return;
    const std::size_t length = std::min(text.size(), size - 1);
    std::memcpy(to, text.data(), length);
    to[length] = '\0';
}

libgemel::Completion completion_of(gemel_done_fn done, void* user) {
    return [done, user](Error error) {
        if (done != nullptr) done(user, static_cast<int>(error));
    };
}

libgemel::Durability durability_of(std::uint32_t flags) {
    return static_cast<libgemel::Durability>(flags);
}
static_assert(static_cast<unsigned>(libgemel::Durability::durable) == GEMEL_DURABLE);

void tell(gemel_event_fn on_event, void* user, const libgemel::Event& event) {
    const std::string word(event.word);
    const std::string text(event.text);
    gemel_event told{};
    told.struct_size = sizeof told;
    told.kind = static_cast<std::int32_t>(event.kind);
    told.mirror = handle_of(event.mirror);
    told.state = static_cast<std::int32_t>(event.state);
    told.word = word.c_str();
    told.text = text.c_str();
    on_event(user, &told);
}

// What the caller's version of the struct has; zeros for the rest.
gemel_options known_part(const gemel_options& options) {
    gemel_options known{};
    std::memcpy(&known, &options, std::min<std::size_t>(options.struct_size, sizeof known));
    return known;
}

libgemel::NodeOptions node_options(const gemel_options& given) {
    libgemel::NodeOptions options;
    options.config_file = text_of(given.config_file);
    options.config_text = text_of(given.config_text);
    options.node = text_of(given.node);
    if (given.state_directory != nullptr) options.state_directory = given.state_directory;
    options.run_directory = text_of(given.run_directory);
    options.threads = static_cast<libgemel::Threads>(given.threads);
    options.spin = std::chrono::microseconds(given.spin_us);
    options.end_limit = std::chrono::milliseconds(given.end_limit_ms);
    void* user = given.user;
    if (const gemel_event_fn on_event = given.on_event) {
        options.on_event = [on_event, user](const libgemel::Event& event) {
            tell(on_event, user, event);
        };
    }
    if (const gemel_log_fn on_log = given.on_log) {
        options.on_log = [on_log, user](libgemel::LogLevel level, std::string_view text) {
            on_log(user, static_cast<int>(level), std::string(text).c_str());
        };
    }
    return options;
}

}  // namespace

extern "C" {

const char* gemel_version(void) { return GEMEL_VERSION; }
const char* gemel_error_text(int error) { return libgemel::error_text(static_cast<Error>(error)); }
const char* gemel_state_name(int state) { return libgemel::state_name(static_cast<State>(state)); }

gemel_node* gemel_open(const gemel_options* options, char* why, size_t why_size) {
    if (options->struct_size < sizeof options->struct_size ||
        known_part(*options).threads > GEMEL_THREADS_CALLER) {
        copy_text(why, why_size, "the options make no sense: begin with GEMEL_OPTIONS_INIT");
        return nullptr;
    }
    std::string sentence;
    std::unique_ptr<libgemel::Node> node =
        libgemel::open_node(node_options(known_part(*options)), sentence);
    if (node == nullptr) {
        copy_text(why, why_size, sentence);
        return nullptr;
    }
    return new gemel_node{std::move(node)};
}

void gemel_close(gemel_node* node) { delete node; }
int gemel_descriptor(const gemel_node* node) { return node->node->descriptor(); }
void gemel_dispatch(gemel_node* node) { node->node->dispatch(); }
size_t gemel_mirror_count(const gemel_node* node) { return node->node->mirror_count(); }

gemel_mirror* gemel_mirror_at(gemel_node* node, size_t index) {
    return index < node->node->mirror_count() ? handle_of(node->node->mirror(index)) : nullptr;
}

gemel_mirror* gemel_find_mirror(gemel_node* node, const char* name) {
    libgemel::Mirror* mirror = node->node->find_mirror(name);
    return mirror == nullptr ? nullptr : handle_of(*mirror);
}

const char* gemel_mirror_name(const gemel_mirror* mirror) {
    return mirror_of(mirror).name().c_str();
}
int gemel_serves(const gemel_mirror* mirror) { return mirror_of(mirror).serves() ? 1 : 0; }

int gemel_mirror_status(const gemel_mirror* mirror, gemel_status* status) {
    if (status->struct_size < offsetof(gemel_status, serves)) return GEMEL_INVALID_ARGUMENT;
    const libgemel::MirrorStatus from = mirror_of(mirror).status();
    gemel_status to{};
    const std::size_t size = std::min<std::size_t>(status->struct_size, sizeof to);
    to.struct_size = static_cast<std::uint32_t>(size);
    to.state = static_cast<std::int32_t>(from.state);
    to.serves = from.serves ? 1 : 0;
    to.peer_connected = from.peer_connected ? 1 : 0;
    to.epoch = from.epoch;
    to.dirty_bytes = from.dirty_bytes;
    to.resync_running = from.resync_running ? 1 : 0;
    to.in_sync_count = static_cast<std::int32_t>(from.in_sync.size());
    to.resync_done_bytes = from.resync_done_bytes;
    to.resync_total_bytes = from.resync_total_bytes;
    copy_text(to.peer, sizeof to.peer, from.peer);
    copy_text(to.reason, sizeof to.reason, from.reason);
    std::memcpy(status, &to, size);
    return GEMEL_OK;
}

void gemel_command(gemel_mirror* mirror, int command, gemel_command_fn done, void* user) {
    mirror_of(mirror).command(static_cast<Command>(command),
                              [done, user](Error error, const std::string& why) {
                                  if (done == nullptr) return;
                                  done(user, static_cast<int>(error), why.c_str());
                              });
}

void gemel_end_use(gemel_mirror* mirror) { mirror_of(mirror).end_use(); }
size_t gemel_volume_count(const gemel_mirror* mirror) { return mirror_of(mirror).volume_count(); }

gemel_volume* gemel_volume_at(gemel_mirror* mirror, size_t index) {
    libgemel::Mirror& of = mirror_of(mirror);
    return index < of.volume_count() ? handle_of(&of.volume(index)) : nullptr;
}

gemel_volume* gemel_find_volume(gemel_mirror* mirror, const char* name) {
    return handle_of(mirror_of(mirror).find_volume(name));
}

const char* gemel_volume_name(const gemel_volume* volume) {
    return volume_of(volume).name().c_str();
}
uint64_t gemel_volume_size(const gemel_volume* volume) { return volume_of(volume).size(); }
uint32_t gemel_block_size(const gemel_volume* volume) { return volume_of(volume).block_size(); }
uint32_t gemel_request_size_max(const gemel_volume* volume) {
    return volume_of(volume).request_size_max();
}

void gemel_read(gemel_volume* volume, uint64_t offset, void* data, size_t size, gemel_done_fn done,
                void* user) {
    volume_of(volume).read(offset, {static_cast<std::byte*>(data), size},
                           completion_of(done, user));
}

void gemel_write(gemel_volume* volume, uint64_t offset, const void* data, size_t size,
                 uint32_t flags, gemel_done_fn done, void* user) {
    volume_of(volume).write(offset, {static_cast<const std::byte*>(data), size},
                            completion_of(done, user), durability_of(flags));
}

void gemel_zero(gemel_volume* volume, uint64_t offset, uint64_t size, uint32_t flags,
                gemel_done_fn done, void* user) {
    volume_of(volume).zero(offset, size, completion_of(done, user), durability_of(flags));
}

void gemel_trim(gemel_volume* volume, uint64_t offset, uint64_t size, gemel_done_fn done,
                void* user) {
    volume_of(volume).trim(offset, size, completion_of(done, user));
}

void gemel_flush(gemel_volume* volume, gemel_done_fn done, void* user) {
    volume_of(volume).flush(completion_of(done, user));
}

}  // extern "C"
