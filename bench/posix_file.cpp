// SPDX-License-Identifier: Apache-2.0
#include "bench/posix_file.hpp"

#include "engine/base/prng.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace gemel::bench {

void fail(const std::string& what, int error) {
    throw std::system_error(error, std::generic_category(), what);
}

PosixFile::PosixFile(std::filesystem::path path, int flags, mode_t mode)
    : path_(std::move(path)), descriptor_(::open(path_.c_str(), flags | O_CLOEXEC, mode)) {
    if (descriptor_ == -1) fail(path_, errno);
}

PosixFile PosixFile::in_memory(const char* name) {
    const int descriptor = ::memfd_create(name, MFD_CLOEXEC);
    if (descriptor == -1) fail(name, errno);
    return PosixFile(name, descriptor, nullptr);
}

PosixFile::PosixFile(PosixFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

PosixFile::~PosixFile() {
    if (descriptor_ != -1) ::close(descriptor_);
}

void PosixFile::write_at(Bytes data, std::uint64_t offset) const {
    const ssize_t done =
        ::pwrite(descriptor_, data.data(), data.size(), static_cast<off_t>(offset));
    if (done != static_cast<ssize_t>(data.size())) fail(path_, done == -1 ? errno : EIO);
}

void PosixFile::read_at(MutableBytes data, std::uint64_t offset) const {
    const ssize_t done = ::pread(descriptor_, data.data(), data.size(), static_cast<off_t>(offset));
    if (done != static_cast<ssize_t>(data.size())) fail(path_, done == -1 ? errno : EIO);
}

void PosixFile::sync() const {
    if (::fsync(descriptor_) == -1) fail(path_, errno);
}

void PosixFile::sync_data() const {
    if (::fdatasync(descriptor_) == -1) fail(path_, errno);
}

Buffer::Buffer(std::size_t size, std::uint64_t seed)
    : data_(static_cast<std::byte*>(std::aligned_alloc(4096, size))), size_(size) {
    GEMEL_ASSERT(data_ != nullptr && size % 4096 == 0);
    Prng prng(seed);
    for (std::size_t at = 0; at < size; at += sizeof(std::uint64_t)) {
        const std::uint64_t word = prng.next();
        std::memcpy(data_ + at, &word, sizeof word);
    }
}

Buffer::~Buffer() { std::free(data_); }

Bytes Buffer::next() noexcept {
    ++number_;
    std::memcpy(data_, &number_, sizeof number_);
    return {data_, size_};
}

WorkDirectory::WorkDirectory(const std::filesystem::path& parent, bool keep) : keep_(keep) {
    std::string text = parent / "load-XXXXXX";
    if (::mkdtemp(text.data()) == nullptr) fail(parent, errno);
    path_ = text;
}

WorkDirectory::~WorkDirectory() {
    std::error_code ignored;
    if (!keep_) std::filesystem::remove_all(path_, ignored);
}

bool drop_page_cache() {
    ::sync();
    const int file = ::open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    if (file == -1) return false;
    const bool done = ::write(file, "1", 1) == 1;
    ::close(file);
    return done;
}

}  // namespace gemel::bench
