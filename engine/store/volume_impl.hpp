// SPDX-License-Identifier: Apache-2.0
// The directory volume behind directory_volume.hpp, in pieces by phase: directory_volume.cpp
// (opening), volume_objects.cpp (from ids and names to inodes), volume_scope.cpp (names kept per
// node), volume_rebuild.cpp and volume_removal.cpp (whole trees), volume_reading.cpp,
// volume_create.cpp, volume_names.cpp, volume_data.cpp, volume_attributes.cpp, volume_sync.cpp,
// volume_target.cpp (a resync's target). Included by these alone.
//
// Within one public call no descriptor is closed that an earlier step of the call has got: the
// cache is trimmed only when a call begins.
#pragma once

#include "engine/store/directory_volume.hpp"
#include "engine/store/fd_cache.hpp"
#include "engine/store/identity.hpp"
#include "engine/store/object_index.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace gemel {

inline constexpr std::string_view kDetachedName = "detached";  // in .gemel/
inline constexpr std::string_view kCapabilityAttribute = "security.capability";

class TreeVolume final : public DirectoryVolume {
   public:
    TreeVolume(Loop& loop, LogSink& log, Fd root, const Options& options) noexcept;
    ~TreeVolume() override;
    TreeVolume(const TreeVolume&) = delete;
    TreeVolume& operator=(const TreeVolume&) = delete;
    // Everything that can fail about opening.
    Status start(const Options& options) noexcept;

    [[nodiscard]] Uuid id() const noexcept override { return volume_id_; }
    Status adopt_volume_id(const Uuid& id) noexcept override;
    Result<bool> is_empty() noexcept override;

    Result<Attributes> lookup(ObjectId parent, std::string_view name) noexcept override;
    Result<Attributes> attributes(ObjectId object) noexcept override;
    Result<ByteBuffer> read_link(ObjectId object) noexcept override;
    Status list(ObjectId directory, std::uint64_t position, std::size_t count_max,
                std::vector<ListedEntry>& entries) noexcept override;
    Result<Fd> data_fd(ObjectId object) noexcept override;
    Result<Fd> pin(ObjectId object) noexcept override;
    void unpin(ObjectId object) noexcept override;
    Result<std::size_t> get_xattr(ObjectId object, std::string_view name,
                                  MutableBytes buffer) noexcept override;
    Result<std::vector<std::string>> list_xattrs(ObjectId object) noexcept override;
    Result<FileSystemStat> stat_file_system() noexcept override;
    Result<std::uint64_t> seek(ObjectId object, std::uint64_t offset, int whence) noexcept override;
    [[nodiscard]] bool is_local(ObjectId object) noexcept override;
    [[nodiscard]] bool keeps_names() const noexcept override { return !exclude_.empty(); }
    [[nodiscard]] bool is_unsynced(ObjectId object) const noexcept override {
        return cache_.is_unsynced(object);
    }

    void set_allotment(std::uint32_t tag, std::uint64_t first_sequence) noexcept override;
    [[nodiscard]] ObjectId next_id() const noexcept override;
    Status prepare(Op& op) noexcept override;
    Status execute(Op& op) noexcept override;
    Status apply(const Op& op) noexcept override;

    Result<SyncPlan> plan_sync(ObjectId object) noexcept override;
    void finish_sync(const SyncPlan& plan, Status outcome) noexcept override;
    [[nodiscard]] std::uint64_t sync_mark() const noexcept override { return change_mark_; }
    void names_synced(std::uint64_t mark) noexcept override;
    [[nodiscard]] bool wants_sync() const noexcept override;
    void set_writeback_failure_handler(std::function<void(Status)> handler) noexcept override;
    void add_sync_targets(std::vector<SyncTarget>& targets) noexcept override {
        targets.push_back({file_system_, true});
        targets.push_back({index_.directory(), true});
    }

    Status make_skeleton(ObjectId id, std::uint32_t type_mode, std::uint64_t special_device,
                         Bytes link_target) noexcept override;
    [[nodiscard]] bool exists(ObjectId id) noexcept override;
    Result<Attributes> lookup_raw(ObjectId parent, std::string_view name) noexcept override;
    Status adopt(ObjectId parent, std::string_view name, ObjectId id) noexcept override;
    Status place(ObjectId id, ObjectId parent, std::string_view name) noexcept override;
    Status detach(ObjectId parent, std::string_view name) noexcept override;
    Status discard_detached() noexcept override;
    Status empty_directory(ObjectId directory) noexcept override;
    Result<ScopedFd> private_directory(std::string_view name, bool make) noexcept override;
    Result<ObjectId> parent_of(ObjectId directory) noexcept override;
    Result<FullAttributes> full_attributes(ObjectId id) noexcept override;
    Status set_full_attributes(ObjectId id, const FullAttributes& attributes) noexcept override;

    void set_found_handler(std::function<void(ObjectId)> handler) noexcept override {
        object_found_ = std::move(handler);
    }
    Result<ChangedObject> find_changed(const FileHandle& handle) noexcept override;

    Status rebuild_index() noexcept override;
    [[nodiscard]] bool was_restored() const noexcept override { return was_restored_; }

   private:
    // What a name stands for. `id` is none where the object has no valid identity.
    struct Found {
        ScopedFd file;   // O_PATH
        ScopedFd going;  // the last descriptor of a large file that is being removed
        FileStat stat;
        FileHandle handle;
        ObjectId id;
        bool local = false;

        [[nodiscard]] bool is_directory() const noexcept { return S_ISDIR(stat.mode); }
        // Every name of it is this one.
        [[nodiscard]] bool is_last_name() const noexcept {
            return !is_directory() && stat.link_count == 1;
        }
    };
    // A new object before it has its name, and how it is to look.
    struct NewObject {
        ObjectId id, parent;
        std::uint32_t mode = 0;  // with the type
        std::uint32_t uid = 0, gid = 0;
        std::uint64_t special_device = 0;
        Bytes target;
        const ByteBuffer* access_acl = nullptr;
        const ByteBuffer* default_acl = nullptr;
        TimeChange accessed, modified;
        bool local = false;
    };
    // A new name not yet known to be durable: child and the directory it stands in.
    struct NewName {
        ObjectId parent;
        std::uint64_t mark = 0;
    };

    // directory_volume.cpp
    Status open_private_directories() noexcept;
    Status take_identity(const Options& options) noexcept;
    Status open_index() noexcept;
    Status load_orphans() noexcept;

    // volume_rebuild.cpp
    class Rebuild;

    // volume_removal.cpp
    // The removal of what is in a directory, of at most `budget` names, which is counted down.
    struct Removal {
        std::size_t budget = 0;
        // Names in it of what the file system refuses to remove (EPERM): they stay.
        std::unordered_set<std::string> refused;
    };
    Status remove_contents(Fd directory) noexcept;
    // Unless the budget reaches 0, nothing is left but what is refused.
    Status remove_some(Fd top, Removal& removal) noexcept;
    using OnDirectory = std::function<Status(const std::string& name, Result<Found>& found)>;
    Status remove_entries(Fd directory, std::size_t& budget, const OnDirectory& on_directory,
                          std::unordered_set<std::string>* refused) noexcept;
    Status remove_entry(Fd directory, const std::string& name,
                        const OnDirectory& on_directory) noexcept;
    void tell_refused(const std::string& name) noexcept;
    Result<std::string> make_fresh_directory(std::string_view prefix) noexcept;
    Status move_to_fresh_name(Fd directory, std::string_view name, Fd target,
                              std::string_view prefix) noexcept;
    // Takes away a directory in which nothing but excluded names is left; what it holds goes in the
    // background. ENOTEMPTY: it has mirrored names.
    Status discard_directory(ObjectId id, Fd parent, std::string_view name) noexcept;
    void clear_staging_later() noexcept;
    // Before the last name of `found` goes: a large file (late_release.hpp) gives its space back in
    // the background, once drop_record is called.
    void hold_large(Found& found) noexcept;
    // A directory of this node's own gives way to a mirrored object of its name.
    Status clear_way(ObjectId parent, std::string_view name) noexcept;

    // volume_scope.cpp
    Result<bool> locality_of(ObjectId object) noexcept;
    // Whether the name is kept per node. not_found: the directory stands nowhere in the tree.
    Result<bool> is_excluded(ObjectId parent, std::string_view name, bool is_directory) noexcept;
    Result<ExcludeList::Place> place_of(ObjectId directory) noexcept;
    // The object's identity follows the name by which it was met.
    Status settle_locality(ObjectId parent, std::string_view name, Found& found) noexcept;
    Status set_locality(ObjectId id, Fd file, bool local) noexcept;
    // For an op that publishes or withdraws its object; `back`: it has failed.
    Status change_sides(const Op& op, Fd file, bool back) noexcept;
    // Below the two names a directory would exclude the same.
    Result<bool> are_places_equal(const Op& op) noexcept;
    Status allot_guest(Found& found) noexcept;
    Status judge_create(Op& op) noexcept;
    Status judge_link(Op& op) noexcept;
    struct RenameSides;
    Status judge_rename(Op& op, const RenameSides& sides) noexcept;
    Status judge_data(Op& op) noexcept;
    // A local object's id belongs to the other node's object from here on.
    Status disown(ObjectId id) noexcept;
    // carry_out, without a trace in the times of mirrored directories whose mirrored names have
    // not changed: those would differ between the nodes.
    Status carry_out_quietly(Op& op) noexcept;

    // Ids that a node gives to its own objects while it does not serve: never shipped, of this tag
    // and the inode's number.
    static constexpr std::uint32_t kGuestTag = 0xFF'FFFF;

    // volume_objects.cpp
    void begin_call() noexcept;
    [[nodiscard]] static bool is_fixed(ObjectId id) noexcept { return id.value <= 4; }
    [[nodiscard]] static bool is_private(ObjectId id) noexcept {
        return is_fixed(id) && id != kRootObject;
    }
    [[nodiscard]] Fd fixed_fd(ObjectId id) const noexcept;
    [[nodiscard]] static bool is_hidden(ObjectId parent, std::string_view name) noexcept;
    static Status check_name(std::string_view name) noexcept;
    // check_name, and EPERM for a hidden name: for names about to be made.
    static Status check_new_name(ObjectId parent, std::string_view name) noexcept;
    // A damaged record is repaired first, with all others. corrupt: that can't be done.
    Result<ObjectIndex::Record> find_record(ObjectId id) noexcept;
    Result<FileHandle> known_handle(ObjectId id) noexcept;
    Result<Fd> object_fd(ObjectId id) noexcept;
    Result<Fd> directory_fd(ObjectId id) noexcept;
    Result<Fd> open_object(ObjectId id, FdCache::Kind wanted) noexcept;
    Result<Fd> open_content(const ObjectIndex::Record& record, FdCache::Kind wanted) noexcept;
    // Answers whether the object is local. ESTALE: it is another one.
    Result<bool> verify_identity(Fd file, ObjectId id, const FileHandle& handle) noexcept;
    // ENOENT, EXDEV; any name, also in the private directories.
    Result<Found> find_at(Fd directory, std::string_view name) noexcept;
    Status identify(Found& found) noexcept;
    // find_at by id, hidden names being absent; gives an id where one is missing and may be given.
    Result<Found> find_named(ObjectId parent, std::string_view name, Fd& directory) noexcept;
    Status allot(Found& found) noexcept;
    Status give_identity(Fd file, const Identity& identity, std::uint32_t mode) noexcept;
    FileStat shown_stat(ObjectId id, FileStat stat) const noexcept;
    // The value of an attribute of any size; an empty buffer where it is missing.
    Result<ByteBuffer> read_xattr(Fd file, std::string_view name) noexcept;
    void note_name(ObjectId child, ObjectId parent) noexcept;
    void object_gone(ObjectId id) noexcept;
    // One name of `found` has been removed: the index forgets the inode if that was its last.
    // Errors: the disk's, under the index.
    Status drop_record(Found& found) noexcept;

    // volume_create.cpp
    Result<Fd> make_object(const NewObject& spec, Fd near, Fd directory,
                           std::string_view name) noexcept;
    Result<Fd> make_unnamed(NewObject spec, Fd near, bool& staged) noexcept;
    Result<Fd> open_unnamed(Fd near, std::uint32_t mode) noexcept;
    void prepare_file_later(ObjectId directory, std::uint32_t mode) noexcept;
    void prepare_file(ObjectId directory, std::uint32_t mode) noexcept;
    void drop_old_prepared() noexcept;
    static constexpr Duration kPreparedFor = Duration::seconds(1);
    Result<Fd> make_staged(const NewObject& spec, std::string_view name) noexcept;
    Status dress(const NewObject& spec, Fd file) noexcept;
    void discard_staged(const NewObject& spec) noexcept;
    Status execute_create(Op& op) noexcept;
    Status apply_create(const Op& op) noexcept;
    Status create(const Op& op, const NewObject& spec, Fd parent) noexcept;

    // volume_names.cpp
    Status execute_link(Op& op) noexcept;
    Status apply_link(const Op& op) noexcept;
    Status link(ObjectId object, ObjectId parent, Fd directory, std::string_view name) noexcept;
    Status check_removal(const Op& op, const Found& found) const noexcept;
    Status prepare_removal(Op& op) noexcept;
    Status execute_removal(Op& op) noexcept;
    Status apply_removal(const Op& op) noexcept;
    Status remove_name(const Op& op, Found& found, Fd directory) noexcept;
    Status check_rename(const Op& op, const RenameSides& sides) const noexcept;
    Status prepare_rename(Op& op) noexcept;
    Status execute_rename(Op& op) noexcept;
    Status apply_rename(const Op& op) noexcept;
    Status find_rename_sides(const Op& op, RenameSides& sides) noexcept;
    Status carry_out_rename(const Op& op, RenameSides& sides) noexcept;
    Status keep_replaced(const Op& op, const RenameSides& sides, Fd keeper) noexcept;
    Status release_orphan(ObjectId object, bool& is_gone) noexcept;
    Status expect(const Result<Found>& found, ObjectId id) const noexcept;
    Status set_modified(Fd file, WallTime time) noexcept;

    // volume_data.cpp
    // `attempt`, and once more if it failed for want of space that was on its way back.
    template <typename Attempt>
    Status with_space(Attempt attempt) noexcept;
    Status carry_out(Op& op) noexcept;
    Status carry_out_exactly(const Op& op) noexcept;
    Status execute_data(Op& op) noexcept;
    Status apply_data(const Op& op) noexcept;
    Status write(Fd file, const Op& op, std::uint64_t& done) noexcept;
    Status copy(Fd file, const Op& op, std::uint64_t& done) noexcept;
    Status allocate(Fd file, const Op& op) noexcept;
    Status clear_set_id(Fd file) noexcept;
    bool has_capability(Fd file) noexcept;
    void resolve_time(Op& op) noexcept;

    // volume_attributes.cpp
    Status execute_attributes(Op& op) noexcept;
    Status apply_attributes(const Op& op) noexcept;
    Status execute_xattr(Op& op) noexcept;
    Status apply_xattr(const Op& op) noexcept;
    Status change_xattr(Fd file, const Op& op) noexcept;
    Status change_attributes(Fd file, const Op& op, const FileStat& wanted) noexcept;
    Status replace_xattrs(Fd file, const FullAttributes& attributes) noexcept;
    static void resolve_object(const FileStat& stat, Op& op) noexcept;

    // volume_target.cpp
    Status detach_found(const Found& found, Fd directory, std::string_view name) noexcept;
    Status place_directory(Fd file, Fd directory, std::string_view name) noexcept;
    Status place_other(ObjectId id, Fd file, Fd directory, std::string_view name) noexcept;

    // volume_sync.cpp
    Status add_names(ObjectId object, SyncPlan& plan) noexcept;
    Status add_to_plan(ObjectId object, FdCache::Kind kind, SyncPlan& plan) noexcept;

    Loop& loop_;
    LogSink& log_;
    Vfs& vfs_;
    Fd root_, private_, orphan_directory_, detached_directory_, incoming_, staging_;
    Fd file_system_;    // held for the daemon's life, for the owner's syncfs
    Fd eviction_sync_;  // the same for the cache's own, with its own memory of errors seen
    Fd state_directory_;
    Uuid volume_id_;
    std::uint64_t device_ = 0;
    std::uint32_t hidden_directory_count_ = 0;  // subdirectories of the root never shown
    bool was_restored_ = false;
    bool is_new_ = false;  // the tree had no identity: nothing in it can have an id
    bool tmpfile_works_ = true;
    ObjectId last_filled_;  // directory of the last created file
    bool is_preparing_ = false;
    ScopedFd prepared_;  // an unnamed file made for the next creation in prepared_in_, or none
    ObjectId prepared_in_;
    Instant prepared_at_;
    std::uint32_t allotment_tag_ = 0;
    std::uint64_t allotment_next_ = 0;
    std::uint64_t change_mark_ = 1;  // grows with every write and every new name
    FdCache cache_;
    ObjectIndex index_;
    bool index_is_lost_ = false;  // it lacks records, and could not be rebuilt
    std::unordered_set<ObjectId, ObjectIdHash> orphans_;
    std::unordered_map<ObjectId, std::vector<NewName>, ObjectIdHash> new_names_;
    std::function<void(Status)> writeback_failure_;
    std::function<void(ObjectId)> object_found_;
    ExcludeList exclude_;
    // Of mirrored directories met so far. A directory keeps its place for life: a rename that would
    // change it is refused.
    std::unordered_map<ObjectId, ExcludeList::Place, ObjectIdHash> places_;
    std::uint64_t discard_counter_ = 0;
    bool clears_staging_ = false;
    Removal staging_removal_;  // of staging/, turn by turn; what is refused stays to the next start
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

struct TreeVolume::RenameSides {
    Fd directory, new_directory;
    Found source;
    std::optional<Found> target;

    // Two names of one object: rename(2) does nothing then.
    [[nodiscard]] bool is_same_object() const noexcept {
        return target.has_value() && target->stat.inode == source.stat.inode;
    }
    [[nodiscard]] ObjectId target_id() const noexcept {
        return target.has_value() ? target->id : kNoObject;
    }
};

}  // namespace gemel
