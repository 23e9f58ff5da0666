// SPDX-License-Identifier: Apache-2.0
#include "controller/mirror_storage.hpp"

#include "engine/base/checksum.hpp"
#include "engine/base/probe.hpp"

#include <fcntl.h>
#include <utility>

namespace gemel {

namespace {

// Ties the intent log's blocks to their mirror.
Uuid owner_of(const MirrorStorageOptions& options) noexcept {
    const std::string text = options.cluster + '\n' + options.mirror + '\n' + options.node;
    const Digest128 digest = digest128(as_bytes(text));
    Uuid owner;
    static_assert(sizeof digest == sizeof owner.bytes);
    std::memcpy(owner.bytes.data(), &digest, sizeof digest);
    return owner;
}

Result<ScopedFd> open_or_make(Vfs& vfs, Fd parent, std::string_view name) noexcept {
    const Status made = vfs.make_directory(parent, name, 0700);
    if (!made.ok() && !made.is_errno(EEXIST)) return made;
    if (made.ok()) {
        if (const Status synced = vfs.sync(parent, false); !synced.ok()) return synced;
    }
    const Result<Fd> fd = vfs.open_at(parent, name, O_RDONLY | O_DIRECTORY, 0);
    if (!fd.ok()) return fd.status();
    return ScopedFd(vfs, fd.value());
}

}  // namespace

// The steps of open(), with what they share.
class MirrorStorage::Opening {
   public:
    Opening(Loop& loop, LogSink& log, const MirrorStorageOptions& options,
            std::string& why) noexcept
        : loop_(loop), log_(log), options_(options), why_(why) {}

    Result<std::unique_ptr<MirrorStorage>> run() noexcept {
        GEMEL_TRY(open_directory());
        GEMEL_TRY(read_superblock());
        GEMEL_TRY(open_intents());
        for (std::size_t i = 0; i < options_.volumes.size(); ++i) {
            const bool is_block = options_.volumes[i].block_size != 0;
            GEMEL_TRY(is_block ? open_block(i) : open_volume(i));
        }
        note_exclusions();
        GEMEL_TRY(note_comparisons());
        if (is_new_) GEMEL_TRY(write_superblock());
        GEMEL_TRY(confirm_identities());
        return std::move(storage_);
    }

   private:
    Status refuse(Status status, std::string sentence) noexcept {
        why_ = std::move(sentence);
        return status;
    }
    [[nodiscard]] std::string state_path() const {
        return options_.state_directory + '/' + options_.mirror;
    }

    Status open_directory() noexcept {
        Vfs& vfs = loop_.vfs();
        const Result<Fd> state = vfs.open_directory(options_.state_directory);
        if (!state.ok()) {
            return refuse(state.status(), "the state directory " + options_.state_directory +
                                              " can't be opened: " + state.status().to_string());
        }
        const ScopedFd parent(vfs, state.value());
        Result<ScopedFd> own = open_or_make(vfs, parent.get(), options_.mirror);
        if (!own.ok()) {
            return refuse(own.status(),
                          state_path() + " can't be made: " + own.status().to_string());
        }
        storage_.reset(new MirrorStorage(std::move(own).value()));
        return Status();
    }

    Status read_superblock() noexcept {
        Superblock& facts = storage_->superblock;
        Result<Superblock> read = SuperblockFile::read(loop_.vfs(), storage_->directory());
        if (read.ok()) {
            facts = std::move(read).value();
            return check_owner();
        }
        if (read.status().code() != Code::not_found) {
            return refuse(read.status(),
                          state_path() + " holds a superblock that is " +
                              read.status().to_string() +
                              ": if this copy may be filled from the other node, move the "
                              "directory away and start again");
        }
        is_new_ = true;
        facts.cluster = options_.cluster;
        facts.mirror = options_.mirror;
        facts.node = options_.node;
        facts.excluded = options_.exclude.digest();
        list_volumes();
        return Status();
    }

    void list_volumes() noexcept {
        storage_->superblock.volumes.clear();
        for (const auto& volume : options_.volumes) {
            storage_->superblock.volumes.push_back({volume.path, {}});
        }
    }

    // From the first start on the directory says what it belongs to.
    Status write_superblock() noexcept {
        const Status written =
            SuperblockFile::write(loop_.vfs(), storage_->directory(), storage_->superblock);
        if (written.ok()) return written;
        return refuse(written, state_path() + " can't be written: " + written.to_string());
    }

    Status check_owner() noexcept {
        const Superblock& facts = storage_->superblock;
        if (facts.cluster != options_.cluster || facts.mirror != options_.mirror ||
            facts.node != options_.node) {
            return refuse(Status(Code::foreign),
                          state_path() + " belongs to mirror '" + facts.mirror + "' of cluster '" +
                              facts.cluster + "' on node '" + facts.node +
                              "': name this node's own directory by --state, or move " +
                              "that one away");
        }
        bool same = facts.volumes.size() == options_.volumes.size();
        for (std::size_t i = 0; same && i < options_.volumes.size(); ++i) {
            same = facts.volumes[i].path == options_.volumes[i].path;
        }
        if (same) return Status();
        if (facts.histories.empty()) {
            // Nothing was ever in sync here: there is nothing that could be mistaken for it.
            list_volumes();
            is_new_ = true;
            return Status();
        }
        return refuse(Status(Code::foreign),
                      state_path() + " was made for other volumes of mirror '" + options_.mirror +
                          "': restore them in the configuration, or move " +
                          "the state directory away on both nodes to begin anew");
    }

    Status open_intents() noexcept {
        Result<std::unique_ptr<IntentLog>> opened =
            IntentLog::open(loop_, log_, storage_->directory(), owner_of(options_));
        if (!opened.ok()) {
            return refuse(opened.status(),
                          "the intent log in " + state_path() + " is " +
                              opened.status().to_string() +
                              ": what differs from the other copy is not known any more; move "
                              "the state directory away to compare everything");
        }
        storage_->intents = std::move(opened).value();
        return Status();
    }

    Status open_volume(std::size_t index) noexcept {
        const MirrorStorageOptions::VolumePaths& paths = options_.volumes[index];
        SuperblockVolume& known = storage_->superblock.volumes[index];
        Vfs& vfs = loop_.vfs();
        const Result<Fd> root = vfs.open_directory(paths.root);
        if (!root.ok()) {
            return refuse(root.status(),
                          paths.path + " can't be opened: " + root.status().to_string());
        }
        const Result<Uuid> carried = DirectoryVolume::volume_id_of(vfs, root.value());
        if (!carried.ok()) {
            vfs.close(root.value());
            return refuse(carried.status(), paths.path +
                                                " can't be used: its file system must "
                                                "have trusted extended attributes (" +
                                                carried.status().to_string() + ')');
        }
        if (const Status status = agree(paths.path, carried.value(), known); !status.ok()) {
            vfs.close(root.value());
            return status;
        }
        if (!known.volume_id.is_none()) return make_volume(index, root.value(), known.volume_id);
        // The ids of an earlier life are void: the epochs that made them unique begin anew.
        known.volume_id = loop_.prng().uuid();
        GEMEL_TRY(make_volume(index, root.value(),
                              carried.value().is_none() ? known.volume_id : carried.value()));
        return rename_volume(paths.path, known.volume_id);
    }

    // The volume opened last gets an id of its own.
    Status rename_volume(const std::string& path, const Uuid& id) noexcept {
        const Status adopted = storage_->volumes.back()->adopt_volume_id(id);
        if (adopted.ok()) return Status();
        return refuse(adopted, path + " can't be given an id: " + adopted.to_string());
    }

    Status open_block(std::size_t index) noexcept {
        const MirrorStorageOptions::VolumePaths& paths = options_.volumes[index];
        SuperblockVolume& known = storage_->superblock.volumes[index];
        Vfs& vfs = loop_.vfs();
        const std::size_t slash = paths.root.rfind('/');
        const std::string directory = paths.root.substr(0, slash == 0 ? 1 : slash);
        const std::string name = paths.root.substr(slash + 1);
        const Result<Fd> opened = vfs.open_directory(directory);
        if (!opened.ok()) {
            return refuse(opened.status(), "the directory of " + paths.path +
                                               " can't be opened: " + opened.status().to_string());
        }
        const ScopedFd parent(vfs, opened.value());
        BlockVolume::Options options;
        options.record = {storage_->directory(), static_cast<std::uint16_t>(index)};
        const Result<Uuid> carried =
            BlockVolume::volume_id_of(loop_, parent.get(), name, options.record);
        if (!carried.ok()) return refuse_block(paths, carried.status());
        GEMEL_TRY(agree(paths.path, carried.value(), known));
        const bool is_first = known.volume_id.is_none();
        if (is_first) known.volume_id = loop_.prng().uuid();
        options.volume_id =
            is_first && !carried.value().is_none() ? carried.value() : known.volume_id;
        options.size = paths.block_size;
        Result<std::unique_ptr<BlockVolume>> volume =
            BlockVolume::open(loop_, parent.get(), name, options);
        if (!volume.ok()) return refuse_block(paths, volume.status());
        if (volume.value()->is_unrecognized()) distrust_device(paths.path);
        GEMEL_TRY(take_volume(index, std::move(volume).value()));
        return is_first ? rename_volume(paths.path, known.volume_id) : Status();
    }

    // Any device could be in its place. What it holds may be completed from the other node, or be
    // chosen by a person, but is no source.
    void distrust_device(const std::string& path) noexcept {
        if (storage_->superblock.histories.empty()) return;  // nobody was promised anything
        storage_->superblock.is_consistent = false;
        is_new_ = true;
        log_.log(LogLevel::warning,
                 path +
                     " has neither a serial number nor a UUID by which it could be known again "
                     "after a boot: it is compared whole with the other node's copy, and serves "
                     "nobody before");
    }

    Status refuse_block(const MirrorStorageOptions::VolumePaths& paths, Status status) noexcept {
        const std::string size = std::to_string(paths.block_size) + " bytes";
        std::string why = status.to_string();
        if (status.code() == Code::too_large) {
            why = "it is larger than its configured size of " + size +
                  ", and a block volume never shrinks";
        } else if (status.is_errno(ENOSPC)) {
            why = "the device is smaller than its configured size of " + size;
        } else if (status.is_errno(EINVAL)) {
            why = "its configured size of " + size +
                  " has to be a multiple of 4 KiB, or of the block of the device";
        } else if (status.is_errno(EBUSY)) {
            why =
                "the device is in use: mounted, swap, part of a RAID or of a volume group, or "
                "the backing of another mirror";
        } else if (status.code() == Code::foreign) {
            why = "it is not the device that mirror '" + options_.mirror +
                  "' had here: restore that one, or move " + state_path() +
                  " away to fill this one from the other node";
        } else if (status.code() == Code::corrupt) {
            why = "the record of its device in " + state_path() +
                  " is damaged: move that directory away to fill the device from the other node";
        } else if (status.code() == Code::unsupported) {
            why =
                "a backing is a regular file on a file system with trusted extended attributes "
                "and file handles, or a block device with blocks of 512 to 4096 bytes that "
                "/sys/dev/block describes";
        }
        return refuse(status, paths.path + " can't be mirrored: " + why);
    }

    // What must be remembered of a backing that was found another is on the disk by now.
    Status confirm_identities() noexcept {
        for (std::size_t i = 0; i < storage_->volumes.size(); ++i) {
            BlockVolume* block = storage_->volumes[i]->as_block();
            if (block == nullptr) continue;
            const Status confirmed = block->confirm_identity();
            if (!confirmed.ok()) return refuse_block(options_.volumes[i], confirmed);
        }
        return Status();
    }

    Status take_volume(std::size_t index, std::unique_ptr<Volume> volume) noexcept {
        if (volume->was_restored()) {
            storage_->superblock.volumes[index].must_compare = true;
            is_new_ = true;
        }
        const Result<bool> empty = volume->is_empty();
        if (!empty.ok()) {
            return refuse(empty.status(), options_.volumes[index].path +
                                              " can't be read: " + empty.status().to_string());
        }
        storage_->all_empty = (index == 0 || storage_->all_empty) && empty.value();
        storage_->volumes.push_back(std::move(volume));
        return Status();
    }

    // The directory's own idea of its volume against the superblock's.
    Status agree(const std::string& path, const Uuid& carried, SuperblockVolume& known) noexcept {
        if (known.volume_id.is_none() || known.volume_id == carried) return Status();
        if (storage_->superblock.histories.empty() && carried.is_none()) {
            // Replaced before anything was ever in sync here.
            known.volume_id = {};
            is_new_ = true;
            return Status();
        }
        if (!storage_->superblock.is_consistent && !carried.is_none()) {
            // A resync that was giving this copy the source's id was interrupted.
            known.volume_id = carried;
            return Status();
        }
        GEMEL_PROBE("storage: a directory that is not the one of the superblock");
        return refuse(Status(Code::foreign),
                      carried.is_none()
                          ? path + " is not what mirror '" + options_.mirror +
                                "' had here (is its disk mounted? was it replaced?): to fill it " +
                                "from the other node, move " + state_path() + " away"
                          : path + " belongs to another volume than the one that mirror '" +
                                options_.mirror + "' had here: restore it, or move " +
                                state_path() + " away to fill it from the other node");
    }

    Status make_volume(std::size_t index, Fd root, const Uuid& volume_id) noexcept {
        const std::string state = state_path() + "/volume-" + std::to_string(index);
        Result<ScopedFd> made =
            open_or_make(loop_.vfs(), storage_->directory(), "volume-" + std::to_string(index));
        if (!made.ok()) {
            loop_.vfs().close(root);
            return refuse(made.status(), state + " can't be made: " + made.status().to_string());
        }
        DirectoryVolume::Options options;
        options.volume_id = volume_id;
        options.state_directory = state;
        options.index = static_cast<std::uint16_t>(index);
        options.exclude = options_.exclude;
        Result<std::unique_ptr<DirectoryVolume>> volume =
            DirectoryVolume::open(loop_, log_, root, options);
        const std::string& path = options_.volumes[index].path;
        if (!volume.ok()) {
            return refuse(volume.status(),
                          path + " can't be mirrored: " + volume.status().to_string() +
                              (volume.status().code() == Code::unsupported
                                   ? " (its file system lacks trusted attributes or file handles)"
                                   : ""));
        }
        return take_volume(index, std::move(volume).value());
    }

    // What was kept per node may be mirrored now, and the other way round: which names differ
    // between the nodes is not known by any intent.
    void note_exclusions() noexcept {
        Superblock& facts = storage_->superblock;
        const Digest128 excluded = options_.exclude.digest();
        if (facts.excluded == excluded) return;
        GEMEL_PROBE("storage: the list of excluded names has been changed");
        facts.excluded = excluded;
        if (facts.histories.empty()) return;  // never in sync: everything is compared anyway
        for (SuperblockVolume& volume : facts.volumes) volume.must_compare = true;
        storage_->exclude_changed = true;
    }

    // A volume to be compared wholly is one big intent, so that nobody has to remember it twice.
    Status note_comparisons() noexcept {
        for (std::size_t i = 0; i < storage_->superblock.volumes.size(); ++i) {
            if (!storage_->superblock.volumes[i].must_compare) continue;
            const IntentKey all{kNoObject, IntentKey::kVolume, static_cast<std::uint16_t>(i)};
            storage_->intents->touch({&all, 1});
        }
        return Status();
    }

    Loop& loop_;
    LogSink& log_;
    const MirrorStorageOptions& options_;
    std::string& why_;
    std::unique_ptr<MirrorStorage> storage_;
    bool is_new_ = false;  // the superblock on disk does not say yet what the one in memory does
};

Result<std::unique_ptr<MirrorStorage>> MirrorStorage::open(Loop& loop, LogSink& log,
                                                           const MirrorStorageOptions& options,
                                                           std::string& why) noexcept {
    return Opening(loop, log, options, why).run();
}

MirrorStorage::~MirrorStorage() = default;

}  // namespace gemel
