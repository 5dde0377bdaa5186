"""Link: a scheduled program becomes a shared library, an executable and the files beside them."""
