//! The examples of `--help`. `tests/cmd.rs` runs each of them.

pub(super) const ALL: &str = "\
Examples:
  ifmatch put shop.ifm prices apple '{\"eur\": 0.5}'     write a document; prints its tag
  ifmatch get shop.ifm prices apple                    print it
  ifmatch put shop.ifm prices apple - --if-match TAG   write it back, unless somebody was faster
  ifmatch ls shop.ifm prices --prefix a                list keys
  ifmatch browse shop.ifm                              look around
";

pub(super) const GET: &str = "\
Examples:
  ifmatch get shop.ifm prices apple
  ifmatch get shop.ifm prices apple --include          with its version, as HTTP headers
  ifmatch get shop.ifm prices apple --if-none-match '\"TAG\"'";

pub(super) const PUT: &str = "\
Examples:
  ifmatch put shop.ifm prices apple '{\"eur\": 0.5}'
  ifmatch put shop.ifm prices apple - < apple.json
  ifmatch put shop.ifm prices apple '{\"eur\": 0.6}' --if-match '\"TAG\"'
  ifmatch put shop.ifm sessions s1 '{\"user\": \"ada\"}' --ttl 1h";

pub(super) const CREATE: &str = "\
Examples:
  ifmatch create shop.ifm prices peach '{\"eur\": 0.4}'
  ifmatch create shop.ifm prices plum - < plum.json
  ifmatch create shop.ifm files logo 89504e47 --hex --codec raw     bytes that are not JSON";

pub(super) const PATCH: &str = "\
Examples:
  ifmatch patch shop.ifm prices apple '{\"eur\": 0.7}'                   a merge patch (RFC 7396)
  ifmatch patch shop.ifm prices apple '[{\"op\": \"incr\", \"path\": \"/stock\", \"value\": -1}]'
                              operations: those of RFC 6902, and set and incr";

pub(super) const DELETE: &str = "\
Examples:
  ifmatch delete shop.ifm prices pear
  ifmatch delete shop.ifm prices apple --if-match '\"TAG\"'     unless somebody was faster";

pub(super) const CLEAR: &str = "\
Examples:
  ifmatch clear shop.ifm prices           say how many documents there are
  ifmatch clear shop.ifm prices --yes     remove them";

pub(super) const DROP: &str = "\
Examples:
  ifmatch drop shop.ifm prices            say how many documents there are
  ifmatch drop shop.ifm prices --yes      remove the collection";

pub(super) const LS: &str = "\
Examples:
  ifmatch ls shop.ifm                                  the collections
  ifmatch ls shop.ifm prices --prefix a --long         keys with sizes, tags and times
  ifmatch ls shop.ifm prices --from m --limit 20       a page of keys";

pub(super) const CAT: &str = "\
Examples:
  ifmatch cat shop.ifm prices
  ifmatch cat shop.ifm prices --reverse --limit 5      the last five";

pub(super) const FIND: &str = "\
Examples:
  ifmatch find shop.ifm products '/price < 50 and /tags contains \"new\"'
  ifmatch find shop.ifm products 'true' --sort -/price --limit 10
  ifmatch find shop.ifm products '/price < 50' --explain      whether an index is used";

pub(super) const INDEX: &str = "\
Examples:
  ifmatch index shop.ifm products
  ifmatch index shop.ifm products --add '/tags/*,-/price'     by tag, then the dearest first
  ifmatch index shop.ifm users --add /email --unique          no two with one address
  ifmatch index shop.ifm products --drop '/tags/*,-/price'";

pub(super) const HISTORY: &str = "\
Examples:
  ifmatch history shop.ifm prices apple --values
  ifmatch put shop.ifm prices apple '{\"eur\": 0.6}' --versions 10     keep ten versions from now on";

pub(super) const CHANGES: &str = "\
Examples:
  ifmatch changes shop.ifm
  ifmatch changes shop.ifm prices --since CURSOR
  ifmatch changes shop.ifm --follow          goes on until it is interrupted; the store is open
                                             only while it is read, so others can write";

pub(super) const STATS: &str = "\
Examples:
  ifmatch stats shop.ifm
  ifmatch stats shop.ifm --json";

pub(super) const VERIFY: &str = "\
Examples:
  ifmatch verify shop.ifm";

pub(super) const REPAIR: &str = "\
Examples:
  ifmatch repair shop.ifm                  say what is damaged, and change nothing
  ifmatch repair shop.ifm --yes            keep every commit that is whole
  ifmatch repair shop.ifm --yes --prefix   keep only what was written before the damage";

pub(super) const COMPACT: &str = "\
Examples:
  ifmatch compact shop.ifm";

pub(super) const BACKUP: &str = "\
Examples:
  ifmatch backup shop.ifm backup.ifm";

pub(super) const RESTORE: &str = "\
Examples:
  ifmatch restore backup.ifm again.ifm
  ifmatch restore backup.ifm whole.ifm --skip-damaged     keep what is whole of a damaged backup";

pub(super) const IMPORT: &str = "\
A line is {\"key\": …, \"value\": …}, with \"expires\" where the document expires. `import`
reads back every value that `export` wrote, but not its tag and time: each write has its own.
A document that is there already with the same value is skipped. So an import that was
interrupted can be run again to finish it. Of several lines with one key the last counts.

Examples:
  ifmatch import shop.ifm prices prices.jsonl
  ifmatch export old.ifm | ifmatch import new.ifm";

pub(super) const EXPORT: &str = "\
Examples:
  ifmatch export shop.ifm > shop.jsonl
  ifmatch export shop.ifm prices --prefix a > prices.jsonl";

pub(super) const DOCTOR: &str = "\
Examples:
  ifmatch doctor shop.ifm
  ifmatch doctor shop.ifm --json";

#[cfg(feature = "browse")]
pub(super) const BROWSE: &str = "\
Examples:
  ifmatch browse shop.ifm
  ifmatch browse shop.ifm prices";

pub(super) const COMPLETIONS: &str = "\
Examples:
  ifmatch completions bash > ifmatch.bash      `source ifmatch.bash` in ~/.bashrc
  ifmatch completions zsh > _ifmatch           in a folder of $fpath";
