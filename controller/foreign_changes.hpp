// SPDX-License-Identifier: Apache-2.0
// Changes behind the mounts of one mirror: whose objects they are, and what is said about them.
// They become intents: durable, known to a resync from either side, and cleared only when both
// copies are the same again. Decides nothing.
#pragma once

#include "controller/ports.hpp"
#include "engine/mirror/change_source.hpp"
#include "engine/store/directory_volume.hpp"
#include "engine/store/intent_log.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace gemel {

class ForeignChanges {
   public:
    // Requires: `events` outlives it.
    ForeignChanges(std::string mirror, MirrorEventSink& events) noexcept
        : mirror_(std::move(mirror)), events_(events) {}

    struct Watched {
        DirectoryVolume* volume = nullptr;  // outlives this
        std::uint16_t index = 0;
        std::size_t file_system = 0;  // of the ChangeSource
        std::string path;             // as configured
        std::string tree;             // where the bare directory is reached
    };
    void add(Watched watched) { watched_.push_back(std::move(watched)); }

    // The intents for what of the record belongs to the mirror. `is_new`: people are told, one
    // event for all of it; `consequence` ends the sentence.
    [[nodiscard]] std::vector<IntentKey> find(const ChangeRecord& record, bool is_new,
                                              const std::string& consequence);

   private:
    struct Found;
    void add_keys(const ObjectChange& change, const Watched& watched, ObjectId object,
                  std::vector<IntentKey>& keys) const;
    // Where it is now, as its user would name it.
    [[nodiscard]] std::string path_of(const Watched& watched, Fd file) const;

    std::string mirror_;
    MirrorEventSink& events_;
    std::vector<Watched> watched_;
};

}  // namespace gemel
