// SPDX-License-Identifier: Apache-2.0
// Puts volumes back to what a BeforeImage has kept. In this order, for all objects of a volume, so
// that no step needs what a later one brings: objects that are gone are made again (without a
// name); names that were not there leave; names that were there come; content; attributes and
// times; at last what has no name is removed. Each step is the same when it is done twice, so that
// it can be begun again after a crash.
#pragma once

#include "engine/io/loop.hpp"
#include "engine/store/block_volume.hpp"
#include "engine/store/directory_volume.hpp"
#include "resync/before_journal.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace gemel {

class BeforeRestoring {
   public:
    using Done = std::function<void(Status, const std::string&)>;

    BeforeRestoring(Loop& loop, Done done) noexcept : loop_(loop), done_(std::move(done)) {}
    // Ends it in between, without `done`.
    ~BeforeRestoring() { *alive_ = false; }
    BeforeRestoring(const BeforeRestoring&) = delete;
    BeforeRestoring& operator=(const BeforeRestoring&) = delete;

    // Either a block volume, or a directory and its journal; they outlive this object.
    void add(BlockVolume* block, DirectoryVolume* directory,
             std::optional<BeforeJournal>& journal) noexcept {
        targets_.push_back({block, directory, &journal});
    }
    void start() noexcept { go_on(); }

   private:
    enum class Step : std::uint8_t { load, make, detach, place, content, attributes, end };
    struct Target {
        BlockVolume* block;
        DirectoryVolume* directory;
        std::optional<BeforeJournal>* journal;
    };
    struct Object {
        ObjectId id;
        DirectoryVolume::FullAttributes attributes;
        ByteBuffer link_target;
        std::unordered_map<std::string, ObjectId> names;
    };

    void go_on() noexcept;
    Status work() noexcept;  // a turn's
    Status load(const Target& target) noexcept;
    Status step(const Target& target, const Object& object) noexcept;
    Status detach(DirectoryVolume& volume, const Object& object) noexcept;
    Status place(DirectoryVolume& volume, const Object& object) noexcept;
    Status put_content(const Target& target, const Object& object) noexcept;

    Loop& loop_;
    Done done_;
    std::vector<Target> targets_;
    std::size_t target_ = 0;  // the one being worked at
    Step step_ = Step::load;
    std::vector<Object> objects_;
    std::size_t object_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

}  // namespace gemel
