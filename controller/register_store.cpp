// SPDX-License-Identifier: Apache-2.0
#include "controller/register_store.hpp"

#include "engine/base/checksum.hpp"
#include "engine/io/whole_transfer.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fcntl.h>
#include <vector>

namespace gemel {

namespace {

constexpr std::uint64_t kMagic = 0x3130676572'6c6d67;  // "gmlreg01", little endian
constexpr std::size_t kFileSizeMax = 8 * kKiB;
constexpr std::size_t kNameSizeMax = 255;
constexpr std::string_view kSuffix = ".register";
constexpr std::string_view kNewSuffix = ".new";

std::string file_name(const std::string& cluster, const std::string& mirror) {
    const Digest128 digest = digest128(as_bytes(cluster + '\n' + mirror));
    std::array<char, 33> hex{};
    std::snprintf(hex.data(), hex.size(), "%016llx%016llx",
                  static_cast<unsigned long long>(digest.high),
                  static_cast<unsigned long long>(digest.low));
    return std::string(hex.data()) + std::string(kSuffix);
}

ByteBuffer make_image(const std::string& cluster, const std::string& mirror,
                      const RegisterValue& value) {
    ByteBuffer image;
    ByteWriter out(image);
    out.put(kMagic);
    out.sized(cluster);
    out.sized(mirror);
    encode(value, out);
    out.put(checksum64(image));
    return image;
}

}  // namespace

Result<std::unique_ptr<RegisterStore>> RegisterStore::open(Loop& loop, LogSink& log,
                                                           const std::string& directory,
                                                           std::string& why) {
    const Result<Fd> fd = loop.vfs().open_directory(directory);
    if (!fd.ok()) {
        why = directory + " can't be opened: " + fd.status().to_string();
        return fd.status();
    }
    std::unique_ptr<RegisterStore> store(
        new RegisterStore(loop, log, ScopedFd(loop.vfs(), fd.value())));
    if (const Status status = store->load(why); !status.ok()) return status;
    return store;
}

RegisterStore::~RegisterStore() = default;

Status RegisterStore::load(std::string& why) {
    std::vector<DirectoryEntry> entries;
    for (std::uint64_t position = 0;;) {
        const std::size_t before = entries.size();
        GEMEL_TRY(loop_.vfs().read_directory(directory_.get(), position, 100, entries));
        if (entries.size() == before) break;
        position = entries.back().next;
    }
    for (const DirectoryEntry& entry : entries) {
        if (entry.name.ends_with(kSuffix)) GEMEL_TRY(load_one(entry.name, why));
    }
    return Status();
}

Status RegisterStore::load_one(const std::string& name, std::string& why) {
    Vfs& vfs = loop_.vfs();
    const Result<Fd> fd = vfs.open_at(directory_.get(), name, O_RDONLY, 0);
    if (!fd.ok()) return fd.status();
    const ScopedFd file(vfs, fd.value());
    ByteBuffer image(kFileSizeMax);
    const Result<std::size_t> size = read_fully(vfs, file.get(), image, 0);
    if (!size.ok()) return size.status();
    image.resize(size.value());
    ByteReader in(image);
    const auto magic = in.get<std::uint64_t>();
    std::string cluster(as_text(in.sized(kNameSizeMax)));
    std::string mirror(as_text(in.sized(kNameSizeMax)));
    RegisterValue value = decode_register_value(in);
    const std::size_t checked = image.size() - in.remaining();
    const auto checksum = in.get<std::uint64_t>();
    const bool intact = in.at_end() && magic == kMagic &&
                        checksum == checksum64(Bytes(image).first(checked)) &&
                        name == file_name(cluster, mirror);
    if (!intact) {
        why = "the register in " + name +
              " is damaged: restore it, or remove it and promote by force";
        return Status(Code::corrupt);
    }
    values_[{std::move(cluster), std::move(mirror)}] = std::move(value);
    return Status();
}

RegisterValue RegisterStore::read(const std::string& cluster, const std::string& mirror) const {
    const auto found = values_.find({cluster, mirror});
    return found == values_.end() ? RegisterValue{} : found->second;
}

std::size_t RegisterStore::count(const std::string& cluster) const noexcept {
    return static_cast<std::size_t>(
        std::count_if(values_.begin(), values_.end(),
                      [&](const auto& entry) { return entry.first.first == cluster; }));
}

void RegisterStore::swap(const std::string& cluster, const std::string& mirror,
                         const RegisterProposal& proposal,
                         std::function<void(const SwapAnswer&)> done) {
    queue_.push_back({{cluster, mirror}, proposal, std::move(done)});
    if (queue_.size() == 1) loop_.post([this] { begin_next(); });
}

void RegisterStore::begin_next() {
    const Swap& swap = queue_.front();
    if (failed_) return answer(SwapOutcome::unreachable, "the witness's disk has failed");
    switch (judge(swap.proposal, read(swap.key.first, swap.key.second))) {
        case SwapVerdict::repeated:
            return answer(SwapOutcome::won);
        case SwapVerdict::lost:
            return answer(SwapOutcome::lost);
        case SwapVerdict::won:
            break;
    }
    image_ = make_image(swap.key.first, swap.key.second, swap.proposal.value);
    file_name_ = file_name(swap.key.first, swap.key.second);
    loop_.offload(*this);
}

// On a worker.
void RegisterStore::run() noexcept {
    Vfs& vfs = loop_.vfs();
    const std::string new_name = file_name_ + std::string(kNewSuffix);
    const auto write = [&]() -> Status {
        const Result<Fd> fd =
            vfs.open_at(directory_.get(), new_name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (!fd.ok()) return fd.status();
        const ScopedFd file(vfs, fd.value());
        GEMEL_TRY(write_fully(vfs, file.get(), image_, 0));
        GEMEL_TRY(vfs.sync(file.get(), false));
        GEMEL_TRY(vfs.rename(directory_.get(), new_name, directory_.get(), file_name_, 0));
        return vfs.sync(directory_.get(), false);
    };
    status_ = write();
}

void RegisterStore::done() noexcept {
    if (!status_.ok()) {
        // What the disk has now is not known; nobody may be told a value of this register again.
        failed_ = true;
        log_.log(LogLevel::error, "a register can't be stored: " + status_.to_string());
        return answer(SwapOutcome::unknown, "the witness's disk has failed");
    }
    values_[queue_.front().key] = queue_.front().proposal.value;
    answer(SwapOutcome::won);
}

void RegisterStore::answer(SwapOutcome outcome, std::string text) {
    const Swap swap = std::move(queue_.front());
    queue_.pop_front();
    if (!queue_.empty()) loop_.post([this] { begin_next(); });
    swap.done({outcome, read(swap.key.first, swap.key.second), std::move(text)});
}

}  // namespace gemel
