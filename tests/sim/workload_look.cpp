// SPDX-License-Identifier: Apache-2.0
// How a client looks at its directory through the mount, and judges what it sees.
#include "tests/sim/workload_client.hpp"

#include <array>
#include <sys/stat.h>
#include <utility>

namespace gemel::sim {

bool Workload::Client::excuses(SimMount& mount, Status status) {
    if (status.code() == Code::cancelled) return true;  // killed
    if (is_deposed(mount)) {
        uncertain_ = true;
        return true;
    }
    if (!status.is_errno(EIO)) return false;
    if (mount.is_serving()) mount.replica->note_read_failure(status);
    uncertain_ = true;
    return true;
}

bool Workload::Client::is_missing(SimMount& mount, Status status) {
    if (excuses(mount, status)) return false;
    const bool may_be_gone = may_lose_ && !facts_.has_directory();
    if (made_ && !may_be_gone) {
        owner_.fail_(directory_ + " at " + mount.node + " is gone: " + status.to_string());
        return false;
    }
    made_ = uncertain_ = may_lose_ = false;
    tree_ = {};
    pending_.clear();
    facts_.forget();
    return true;
}

// The other node has acknowledged since: this one may answer reads until it notices, and what it
// shows is judged by nobody.
bool Workload::Client::is_deposed(const SimMount& mount) const {
    return mount.is_serving() && mount.epoch() < owner_.newest_epoch_;
}

bool Workload::Client::look(SimMount& mount) {
    if (is_deposed(mount)) return false;
    const Result<Attributes> own = mount.replica->directory(0).lookup(kRootObject, directory_);
    if (!own.ok()) return is_missing(mount, own.status());
    Tree seen;
    if (!read_tree(mount, own->id, seen)) return false;
    if (!judge(mount.node, seen)) return false;
    made_ = true;
    uncertain_ = may_lose_ = false;
    pending_.clear();
    tree_ = std::move(seen);
    return true;
}

bool Workload::Client::judge(const std::string& node, const Tree& seen) {
    const std::string where = directory_ + " at " + node + ": ";
    if (may_lose_) {
        const std::string missing = facts_.check(seen);
        if (!missing.empty()) owner_.fail_(where + missing);
        return missing.empty();
    }
    std::size_t certain = 0;  // the last one acknowledged, and all before it
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        if (pending_[i].change.is_acknowledged) certain = i + 1;
    }
    Tree possible = tree_;
    std::string why, first_why;
    for (std::size_t done = 0;; ++done) {
        if (done >= certain && equal(seen, possible, why)) return true;
        if (first_why.empty()) first_why = why;
        if (done == pending_.size()) break;
        const Change& next = pending_[done].change;
        if (done >= certain && is_torn(seen, possible, next, why)) return true;
        next.apply(possible);
    }
    owner_.fail_(where + first_why);
    return false;
}

bool Workload::Client::read_tree(SimMount& mount, ObjectId own, Tree& seen) {
    DirectoryVolume& volume = mount.replica->directory(0);
    std::vector<ListedEntry> entries;
    std::map<std::uint64_t, FileRef> files;
    for (std::uint64_t position = 0;;) {
        const std::size_t before = entries.size();
        const Status listed = volume.list(own, position, 100, entries);
        if (!listed.ok()) {
            excuses(mount, listed);
            return false;
        }
        if (entries.size() == before) break;
        position = entries.back().next;
    }
    for (const ListedEntry& entry : entries) {
        if (S_ISDIR(entry.mode)) {
            seen.directories.insert(entry.name);
            continue;
        }
        FileRef& file = files[entry.id.value];
        if (file == nullptr) {
            File read;
            if (!mount.is_serving() || !read_file(mount, entry.id, read)) return false;
            file = std::make_shared<const File>(std::move(read));
        }
        seen.files[entry.name] = file;
    }
    return true;
}

bool Workload::Client::read_file(SimMount& mount, ObjectId id, File& file) {
    DirectoryVolume& volume = mount.replica->directory(0);
    const Result<Attributes> attributes = volume.attributes(id);
    if (!attributes.ok()) return excuses(mount, attributes.status()) && false;
    const Result<Fd> fd = volume.data_fd(id);
    if (!fd.ok()) return excuses(mount, fd.status()) && false;
    file.mode = attributes->stat.mode & 07777;
    file.content.resize(attributes->stat.size);
    std::size_t done = 0;
    while (done < file.content.size()) {
        const Result<std::size_t> read =
            mount.loop->vfs().pread(fd.value(), MutableBytes(file.content).subspan(done), done);
        if (!read.ok()) return excuses(mount, read.status()) && false;
        if (read.value() == 0) return false;
        done += read.value();
    }
    std::array<std::byte, 64> value{};
    const Result<std::size_t> colour = volume.get_xattr(id, "user.colour", value);
    if (colour.ok()) {
        file.colour = as_text(Bytes(value).first(colour.value()));
    } else if (!colour.status().is_errno(ENODATA)) {
        return excuses(mount, colour.status()) && false;
    }
    return true;
}

}  // namespace gemel::sim
