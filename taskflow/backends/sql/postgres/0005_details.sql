-- What a list does not show: JSON, as body. Rows of earlier versions have it there.
ALTER TABLE {schema}.tasks ADD COLUMN details text;
