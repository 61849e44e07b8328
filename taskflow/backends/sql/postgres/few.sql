SELECT {schema}.few_with_{what}(%(wanted)s, %(most)s)
