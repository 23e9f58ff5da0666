// SPDX-License-Identifier: Apache-2.0
#include "engine/store/exclude_list.hpp"

#include "engine/base/prng.hpp"

#include <gtest/gtest.h>

#include <fnmatch.h>
#include <optional>
#include <string>
#include <vector>

namespace gemel {
namespace {

ExcludeList list_of(const std::vector<std::string>& patterns) {
    ExcludeList list;
    for (const std::string& pattern : patterns) EXPECT_EQ(list.add(pattern), "") << pattern;
    return list;
}

std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> parts;
    while (!path.empty()) {
        const std::size_t slash = std::min(path.find('/'), path.size());
        parts.emplace_back(path.substr(0, slash));
        path.remove_prefix(std::min(slash + 1, path.size()));
    }
    return parts;
}

// Whether the path, a directory if it ends in a slash, is excluded, itself or with one above.
bool excludes(const ExcludeList& list, std::string_view path) {
    const bool is_directory = path.ends_with('/');
    const std::vector<std::string> parts = split(path);
    ExcludeList::Place place = list.root();
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const bool last = i + 1 == parts.size();
        if (list.excludes(place, parts[i], !last || is_directory)) return true;
        if (!last) place = list.below(place, parts[i]);
    }
    return false;
}

struct Row {
    const char* pattern;
    std::vector<const char*> excluded, kept;
};

TEST(ExcludeList, MeansWhatUsersOfGitignoreAndRsyncExpect) {
    const Row rows[] = {
        {"*.tmp",
         {"a.tmp", ".tmp", "d/a.tmp", "d/e/.x.tmp", "x.tmp/in"},
         {"tmp", "a.tmp2", "atmp"}},
        {"pgsql_tmp/",
         {"pgsql_tmp/", "base/pgsql_tmp/", "pgsql_tmp/a/b"},
         {"pgsql_tmp", "d/pgsql_tmp"}},
        {"/cache", {"cache", "cache/", "cache/x"}, {"d/cache", "cachet"}},
        {"a/b", {"a/b", "a/b/c"}, {"x/a/b", "b", "a", "a/c"}},
        {"a/b/", {"a/b/", "a/b/c"}, {"a/b", "x/a/b/"}},
        {"logs/*.old", {"logs/x.old"}, {"x.old", "logs/a/x.old", "d/logs/x.old"}},
        {"**/b", {"b", "a/b", "a/a/b"}, {"a/bb"}},
        {"a/**", {"a/x", "a/x/", "a/b/c"}, {"a", "a/", "b/a/x"}},
        {"a/**/b", {"a/b", "a/x/b", "a/x/y/b"}, {"b", "x/a/b", "a/bb", "a/x/"}},
        {"**/a/b", {"a/b", "x/a/b", "x/y/a/b"}, {"a/x/b", "b"}},
        {"a/**/**/b", {"a/b", "a/x/b"}, {"a"}},
        {"a**b", {"ab", "axxb"}, {"a/b"}},
        {"[ab]?", {"ax", "b."}, {"cx", "a", "axx"}},
        {"[!a-c]", {"d", "-"}, {"a", "b", "c", "dd"}},
        {"[]x]", {"]", "x"}, {"a"}},
        {"\\*", {"*", "d/*"}, {"a", "**"}},
        {"\\!x", {"!x"}, {"x"}},
        {"#*#", {"#file#"}, {"file"}},
        {"x ", {"x "}, {"x"}},
        {"/**/tmp/", {"tmp/", "a/tmp/x"}, {"tmp", "a/tmp"}},
    };
    for (const Row& row : rows) {
        const ExcludeList list = list_of({row.pattern});
        for (const char* path : row.excluded) {
            EXPECT_TRUE(excludes(list, path)) << row.pattern << " " << path;
        }
        for (const char* path : row.kept) {
            EXPECT_FALSE(excludes(list, path)) << row.pattern << " " << path;
        }
    }
}

TEST(ExcludeList, TakesBytesWhateverTheLocale) {
    const ExcludeList list = list_of({"?", "[\x80-\xff]\xfe", "\xc3\xa4*"});
    EXPECT_TRUE(excludes(list, "\xff"));
    EXPECT_FALSE(excludes(list, "\xc3\xb6"));  // two bytes, whatever character they are
    EXPECT_TRUE(excludes(list, "\xc3\xfe"));
    EXPECT_TRUE(excludes(list, "\xc3\xa4rger"));
    EXPECT_FALSE(excludes(list, "Arger"));
}

TEST(ExcludeList, RefusesWhatIsNoPatternOrTooMuch) {
    for (const char* pattern : {"", "/", "//", "a//b", "/a//", "../x", "a/.", "./a", "!a", "[a",
                                "a\\", "[[:alpha:]]", "[a", "[]", "[!]"}) {
        ExcludeList list;
        EXPECT_NE(list.add(pattern), "") << pattern;
        EXPECT_TRUE(list.empty()) << pattern;
    }
    for (const char* pattern :
         {"*", "**", "***", "/*", "/**", "**/*", "**/**", "?*", "*?", "*?*"}) {
        EXPECT_EQ(ExcludeList().add(pattern), "would exclude everything") << pattern;
    }
    EXPECT_NE(ExcludeList().add(std::string_view("a\0b", 3)), "");
    EXPECT_NE(ExcludeList().add(std::string(256, 'a')), "");
    std::string deep = "a";
    for (std::size_t i = 0; i < ExcludeList::kComponentsMax; ++i) deep += "/a";
    EXPECT_NE(ExcludeList().add(deep), "");
    for (const char* pattern : {"*/", "??*", "*/*", "a*", "**/"}) {
        EXPECT_EQ(ExcludeList().add(pattern), "") << pattern;
    }
}

TEST(ExcludeList, HasADigestOfItsTexts) {
    EXPECT_EQ(ExcludeList().digest(), Digest128());
    EXPECT_EQ(list_of({"a", "b"}).digest(), list_of({"a", "b"}).digest());
    EXPECT_NE(list_of({"a", "b"}).digest(), list_of({"b", "a"}).digest());
    EXPECT_NE(list_of({"a", "b"}).digest(), list_of({"ab"}).digest());
}

TEST(ExcludeList, TellsDirectoriesApartOnlyWhereItMatters) {
    const ExcludeList list = list_of({"a/b", "*.tmp"});
    const auto place = [&](std::initializer_list<const char*> names) {
        ExcludeList::Place result = list.root();
        for (const char* name : names) result = list.below(result, name);
        return result;
    };
    EXPECT_EQ(place({"x"}), place({"y", "z"}));
    EXPECT_NE(place({"a"}), place({"x"}));
    EXPECT_NE(place({}), place({"a"}));
    EXPECT_EQ(place({"a", "a"}), place({"x"}));
    EXPECT_TRUE(list_of({"*.tmp", "x/"}).is_placeless());
    EXPECT_TRUE(list_of({"*.tmp", "x/"}).root().empty());
}

// Random patterns of one component against the C library's.
TEST(MatchesName, AgreesWithFnmatch) {
    Prng prng(20261122);
    const char* const elements[] = {"a",    "b",    "-",     "]",     "*",    "?",
                                    "[ab]", "[!a]", "[^b]",  "[a-b]", "[]-]", "[a-]",
                                    "\\*",  "\\\\", "[\\]]", ".",     "\xff", "[!]b]"};
    const char* const bytes[] = {"a", "b", "-", "]", "*", "\\", ".", "\xff", "?"};
    std::size_t matched = 0;
    for (int round = 0; round < 200'000; ++round) {
        std::string pattern, name;
        for (auto count = prng.between(1, 5); count > 0; --count) {
            pattern += elements[prng.below(std::size(elements))];
        }
        for (auto count = prng.between(1, 5); count > 0; --count) {
            name += bytes[prng.below(std::size(bytes))];
        }
        const bool expected = fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
        ASSERT_EQ(matches_name(pattern, name), expected) << pattern << " on " << name;
        if (expected) ++matched;
    }
    EXPECT_GT(matched, 5'000U);
}

// The definition, without any automaton: components against names, one behind the other.
bool matches_path(const std::vector<std::string>& pattern, std::size_t i,
                  const std::vector<std::string>& path, std::size_t j) {
    if (i == pattern.size()) return j == path.size();
    if (pattern[i] == "**") {
        const std::size_t least = i + 1 == pattern.size() ? 1 : 0;
        for (std::size_t next = j + least; next <= path.size(); ++next) {
            if (matches_path(pattern, i + 1, path, next)) return true;
        }
        return false;
    }
    return j < path.size() && fnmatch(pattern[i].c_str(), path[j].c_str(), 0) == 0 &&
           matches_path(pattern, i + 1, path, j + 1);
}

bool model_excludes(const std::string& pattern, const std::string& path) {
    const bool for_directories = pattern.ends_with('/');
    std::vector<std::string> components = split(pattern.substr(pattern.starts_with('/') ? 1 : 0));
    const std::string inner = for_directories ? pattern.substr(0, pattern.size() - 1) : pattern;
    if (inner.find('/') == std::string::npos) components.insert(components.begin(), "**");
    const std::vector<std::string> names = split(path);
    for (std::size_t count = 1; count <= names.size(); ++count) {
        const bool is_directory = count < names.size() || path.ends_with('/');
        if (for_directories && !is_directory) continue;
        const std::vector<std::string> path_names(names.begin(),
                                                  names.begin() + static_cast<long>(count));
        if (matches_path(components, 0, path_names, 0)) return true;
    }
    return false;
}

TEST(ExcludeList, AgreesWithANaiveModel) {
    Prng prng(77);
    const char* const components[] = {"a", "b", "**", "*", "a*", "[ab]", "**"};
    const char* const names[] = {"a", "b", "ab", "c"};
    std::size_t tried = 0, excluded = 0;
    for (int round = 0; round < 100'000; ++round) {
        std::string pattern = prng.one_in(3) ? "/" : "";
        for (auto count = prng.between(1, 4); count > 0; --count) {
            pattern += components[prng.below(std::size(components))];
            if (count > 1 || prng.one_in(3)) pattern += '/';
        }
        std::string path;
        for (auto count = prng.between(1, 5); count > 0; --count) {
            path += names[prng.below(std::size(names))];
            if (count > 1 || prng.one_in(3)) path += '/';
        }
        ExcludeList list;
        if (!list.add(pattern).empty()) continue;
        ++tried;
        const bool expected = model_excludes(pattern, path);
        ASSERT_EQ(excludes(list, path), expected) << pattern << " on " << path;
        if (expected) ++excluded;
    }
    EXPECT_GT(tried, 80'000U);
    EXPECT_GT(excluded, 20'000U);
}

}  // namespace
}  // namespace gemel
