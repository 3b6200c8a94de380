/* The settings of the program's allocator (jemalloc, Linux only), which reads this symbol before
   `main`. The environment variable `_RJEM_MALLOC_CONF` of a running program adds to them. */
const char *_rjem_malloc_conf =
    "background_thread:true,dirty_decay_ms:100,muzzy_decay_ms:0,retain:false,narenas:2";
