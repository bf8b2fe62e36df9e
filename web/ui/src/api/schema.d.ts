// Made by "npm run api". Do not edit.
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** Deleted */
        Deleted: {
            deletion: number;
            undo_until: string;
            instances: number;
        };
        /** DeletionPage */
        DeletionPage: {
            items: components["schemas"]["Deletion"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Deletion */
        Deletion: {
            id: number;
            level: string;
            study_instance_uid: string;
            series_instance_uid: string;
            sop_instance_uid: string;
            patient_id: string;
            patient_name: string;
            study_date: string;
            study_description: string;
            instances: number;
            size_bytes: number;
            deleted_by: string;
            deleted_at: string;
            undo_until: string;
            /** @enum {unknown} */
            state: "deleted" | "erased" | "erasing" | "undoing" | "undone";
            lost: number;
        };
        /** Storage */
        "web.api.lifecycle.Storage": {
            stores: components["schemas"]["StoreState"][];
            figures: components["schemas"]["Figures"];
            moves: {
                [key: string]: number;
            };
            nodes: components["schemas"]["ArchiveNode"][];
            replication: components["schemas"]["Lag"][];
            paths: components["schemas"]["PathFigures"][];
            now: string;
            clock_doubted_since: string | null;
        };
        /** StoreState */
        StoreState: {
            name: string;
            tier: string;
            kind: string;
            free_bytes: number | null;
            problem: string;
        };
        /** Figures */
        Figures: {
            at: string;
            total_bytes: number;
            free_bytes: number;
            places: components["schemas"]["PlaceFigures"][];
            modalities: components["schemas"]["ModalityFigures"][];
            months: components["schemas"]["MonthFigures"][];
            growth_days: number;
            grown_bytes: number;
            full_on: string | null;
        };
        /** PlaceFigures */
        PlaceFigures: {
            store: string;
            studies: number;
            instances: number;
            size_bytes: number;
        };
        /** ModalityFigures */
        ModalityFigures: {
            modality: string;
            series: number;
            instances: number;
            size_bytes: number;
        };
        /** MonthFigures */
        MonthFigures: {
            month: string;
            studies: number;
            instances: number;
            size_bytes: number;
        };
        /** ArchiveNode */
        ArchiveNode: {
            node: number;
            since: string;
            seen_at: string;
            alive: boolean;
        };
        /** Lag */
        Lag: {
            slot: number;
            store: string;
            waiting: number;
            oldest: string | null;
            problem: string;
            looked_at: string;
        };
        /** PathFigures */
        PathFigures: {
            name: string;
            count: number;
            p50_ms: number;
            p99_ms: number;
        };
        /** Policy */
        Policy: {
            id: number;
            name: string;
            enabled: boolean;
            priority: number;
            rule: components["schemas"]["Rule"];
            changed_by: string;
            changed_at: string;
        };
        /** Rule */
        Rule: {
            /**
             * @default {
             *       "received_before_days": 0,
             *       "study_before_days": 0,
             *       "unused_for_days": 0,
             *       "at_least_bytes": 0,
             *       "at_most_bytes": 0,
             *       "modalities": [],
             *       "body_parts": [],
             *       "stations": [],
             *       "institutions": [],
             *       "departments": [],
             *       "sources": [],
             *       "labels": [],
             *       "without_labels": [],
             *       "workflow_states": [],
             *       "patient_classes": [],
             *       "online_free_below_percent": 0
             *     }
             */
            when: components["schemas"]["When"];
            /** @enum {unknown} */
            action: "copy" | "delete" | "move" | "remove";
            /** @default  */
            from_store: string;
            /** @default  */
            to_store: string;
            /**
             * @default plain
             * @enum {unknown}
             */
            form: "gzip" | "htj2k" | "jpeg-2000" | "jpeg-ls" | "lz4" | "plain" | "rle" | "zstd";
            /** @default 0 */
            retention_days: number;
            /** @default 500 */
            studies_a_run: number;
        };
        /** When */
        When: {
            /** @default 0 */
            received_before_days: number;
            /** @default 0 */
            study_before_days: number;
            /** @default 0 */
            unused_for_days: number;
            /** @default 0 */
            at_least_bytes: number;
            /** @default 0 */
            at_most_bytes: number;
            /** @default [] */
            modalities: string[];
            /** @default [] */
            body_parts: string[];
            /** @default [] */
            stations: string[];
            /** @default [] */
            institutions: string[];
            /** @default [] */
            departments: string[];
            /** @default [] */
            sources: string[];
            /** @default [] */
            labels: string[];
            /** @default [] */
            without_labels: string[];
            /** @default [] */
            workflow_states: string[];
            /** @default [] */
            patient_classes: string[];
            /** @default 0 */
            online_free_below_percent: number;
        };
        /** PolicyText */
        PolicyText: {
            name: string;
            rule: components["schemas"]["Rule"];
            /** @default false */
            enabled: boolean;
            /** @default 100 */
            priority: number;
        };
        /** Run */
        "pacs_actors.lifecycle.policy_book.Run": {
            at: string;
            studies: number;
            size_bytes: number;
            problem: string;
        };
        /** Preview */
        Preview: {
            studies: number;
            size_bytes: number;
            some: components["schemas"]["Named"][];
        };
        /** Named */
        Named: {
            study_instance_uid: string;
            patient_id: string;
            patient_name: string;
            study_date: string;
            study_description: string;
            modalities: string[];
            size_bytes: number;
            received_at: string | null;
            accessed_at: string | null;
            availability: string;
        };
        /** MovePage */
        MovePage: {
            items: components["schemas"]["Move"][];
            next: string | null;
        };
        /** Move */
        Move: {
            id: number;
            study_instance_uid: string;
            from_store: string;
            to_store: string;
            /** @enum {unknown} */
            form: "gzip" | "htj2k" | "jpeg-2000" | "jpeg-ls" | "lz4" | "plain" | "rle" | "zstd";
            why: string;
            asked_by: string;
            priority: number;
            /** @enum {unknown} */
            state: "cancelled" | "done" | "failed" | "running" | "waiting";
            asked_at: string;
            begun_at: string | null;
            ended_at: string | null;
            attempts: number;
            instances: number;
            done: number;
            size_bytes: number;
            done_bytes: number;
            problem: string;
        };
        /** NewMove */
        NewMove: {
            study_instance_uid: string;
            /** @default  */
            from_store: string;
            /** @default  */
            to_store: string;
            /**
             * @default plain
             * @enum {unknown}
             */
            form: "gzip" | "htj2k" | "jpeg-2000" | "jpeg-ls" | "lz4" | "plain" | "rle" | "zstd";
        };
        /** Hold */
        Hold: {
            id: number;
            study_instance_uid: string;
            reason: string;
            placed_by: string;
            placed_at: string;
            lifted_by: string;
            lifted_at: string | null;
        };
        /** Credentials */
        Credentials: {
            username: string;
            password: string;
        };
        /** LoggedIn */
        LoggedIn: {
            access_token: string;
            refresh_token: string;
            /** @default Bearer */
            token_type: string;
            expires_in: number;
            me: components["schemas"]["Me"];
        };
        /** Me */
        Me: {
            name: string;
            display_name: string;
            roles: string[];
            actions: string[];
            language: string;
            via: string;
        };
        /** RefreshToken */
        RefreshToken: {
            refresh_token: string;
        };
        /** AboutMe */
        AboutMe: {
            display_name?: string;
            language?: string;
        };
        /** NewPassword */
        NewPassword: {
            old: string;
            new: string;
        };
        /** LoginOptions */
        LoginOptions: {
            oidc: components["schemas"]["Provider"] | null;
        };
        /** Provider */
        Provider: {
            name: string;
            url: string;
        };
        /** RolePage */
        RolePage: {
            items: components["schemas"]["Role"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Role */
        Role: {
            name: string;
            /** @default  */
            description: string;
            /** @default [] */
            actions: string[];
            /**
             * @default {
             *       "everything": false,
             *       "rules": []
             *     }
             */
            scope: components["schemas"]["RoleScope"];
        };
        /** RoleScope */
        RoleScope: {
            /** @default false */
            everything: boolean;
            /** @default [] */
            rules: components["schemas"]["RoleRule"][];
        };
        /** RoleRule */
        RoleRule: {
            /** @default [] */
            modalities: string[];
            /** @default [] */
            sources: string[];
            /** @default [] */
            institutions: string[];
            /** @default [] */
            departments: string[];
            /** @default [] */
            referring_physicians: string[];
            /** @default [] */
            studies: string[];
            /** @default false */
            own_department: boolean;
            /** @default false */
            own_referring: boolean;
        };
        /** NewRole */
        NewRole: {
            name: string;
            /** @default  */
            description: string;
            /** @default [] */
            actions: string[];
            /**
             * @default {
             *       "everything": false,
             *       "rules": []
             *     }
             */
            scope: components["schemas"]["RoleScope"];
        };
        /** ChangedRole */
        ChangedRole: {
            /** @default  */
            description: string;
            /** @default [] */
            actions: string[];
            /**
             * @default {
             *       "everything": false,
             *       "rules": []
             *     }
             */
            scope: components["schemas"]["RoleScope"];
            /** @default  */
            name: string;
        };
        /** Permission */
        Permission: {
            action: string;
            description: string;
        };
        /** NewLink */
        NewLink: {
            expires_in_s: number;
            /** @default null */
            password: string | null;
            /** @default  */
            note: string;
            /** @default false */
            download: boolean;
        };
        /** MadeLink */
        MadeLink: {
            id: number;
            url: string;
            expires_at: string;
        };
        /** SharePage */
        SharePage: {
            items: components["schemas"]["Share"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Share */
        Share: {
            id: number;
            study_instance_uid: string;
            created_at: string;
            created_by: string;
            expires_at: string;
            note: string;
            has_password: boolean;
            download: boolean;
            opened: number;
            revoked_at: string | null;
        };
        /** LinkPassword */
        LinkPassword: {
            /** @default null */
            password: string | null;
        };
        /** OpenedLink */
        OpenedLink: {
            viewer_url: string;
        };
        /** StudyPage */
        StudyPage: {
            items: components["schemas"]["ListedStudy"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** ListedStudy */
        ListedStudy: {
            study_instance_uid: string;
            patient_id: string;
            issuer_of_patient_id: string;
            patient_name: string;
            patient_birth_date: string;
            patient_sex: string;
            study_date: string;
            study_time: string;
            accession_number: string;
            study_description: string;
            study_id: string;
            modalities: string[];
            referring_physician_name: string;
            institution_name: string;
            number_of_series: number;
            number_of_instances: number;
            size_bytes: number;
            received_at: string | null;
            source: string;
            availability: string;
        };
        /** Study */
        Study: {
            study_instance_uid: string;
            patient_id: string;
            issuer_of_patient_id: string;
            patient_name: string;
            patient_birth_date: string;
            patient_sex: string;
            study_date: string;
            study_time: string;
            accession_number: string;
            study_description: string;
            study_id: string;
            modalities: string[];
            referring_physician_name: string;
            institution_name: string;
            number_of_series: number;
            number_of_instances: number;
            size_bytes: number;
            received_at: string | null;
            source: string;
            availability: string;
            series: components["schemas"]["SeriesRow"][];
        };
        /** SeriesRow */
        SeriesRow: {
            series_instance_uid: string;
            modality: string;
            series_number: string;
            series_description: string;
            series_date: string;
            series_time: string;
            body_part_examined: string;
            protocol_name: string;
            institution_name: string;
            station_name: string;
            manufacturer: string;
            number_of_instances: number;
            size_bytes: number;
            received_at: string | null;
            source: string;
        };
        /** InstancePage */
        InstancePage: {
            items: components["schemas"]["Instance"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Instance */
        Instance: {
            sop_instance_uid: string;
            sop_class_uid: string;
            sop_class_name: string;
            transfer_syntax_uid: string;
            transfer_syntax_name: string;
            instance_number: string;
            rows: string;
            columns: string;
            number_of_frames: string;
            size_bytes: number;
            received_at: string;
            source: string;
        };
        /** StudyStorage */
        StudyStorage: {
            /** @enum {unknown} */
            availability: "NEARLINE" | "OFFLINE" | "ONLINE" | "UNAVAILABLE";
            instances: number;
            online: number;
            copies: components["schemas"]["CopiesThere"][];
            accessed_at: string | null;
            recalled_at: string | null;
            labels: string[];
            workflow_state: string;
            patient_class: string;
            hold: components["schemas"]["Hold"] | null;
            moves: components["schemas"]["Move"][];
        };
        /** CopiesThere */
        CopiesThere: {
            store: string;
            tier: string;
            instances: number;
            size_bytes: number;
        };
        /** NewHold */
        NewHold: {
            reason: string;
        };
        /** Labels */
        Labels: {
            /** @default [] */
            labels: string[];
            /** @default  */
            workflow_state: string;
            /** @default  */
            patient_class: string;
        };
        /** NodeStatus */
        NodeStatus: {
            at: number;
            ae_title: string;
            dicom: string;
            workers: components["schemas"]["WorkerStatus"][];
            last_studies: components["schemas"]["StudySummary"][];
            /** @default 0 */
            studies_as_of: number;
        };
        /** WorkerStatus */
        WorkerStatus: {
            slot: number;
            pid: number;
            state: string;
            uptime_s: number;
            accepting: boolean;
            why_not: string;
            indexing: boolean;
            memory_bytes: number;
            stored_instances: number;
            stored_bytes: number;
            indexed_instances: number;
            duplicates: number;
            conflicts: number;
            backlog: number;
            free_bytes: number;
            loop_lag_ms: number;
            counters: {
                [key: string]: number;
            };
            actors: components["schemas"]["ActorStatus"][];
            /** @default  */
            recovery: string;
            associations: components["schemas"]["AssociationStatus"][];
            mailboxes: components["schemas"]["MailboxStatus"][];
            /** @default [] */
            paths: components["schemas"]["PathTimes"][];
        };
        /** ActorStatus */
        ActorStatus: {
            depth: number;
            name: string;
            state: string;
            restarts: number;
            crashes: number;
            last_crash: string;
        };
        /** AssociationStatus */
        AssociationStatus: {
            calling_ae: string;
            called_ae: string;
            address: string;
            since_s: number;
            requests: number;
            stored: number;
            received_bytes: number;
            sent_bytes: number;
            doing: string;
            /** @default 0 */
            place: number;
        };
        /** MailboxStatus */
        MailboxStatus: {
            name: string;
            depth: number;
            capacity: number;
            told: number;
            served: number;
            refused: number;
            crashed: number;
            longest_wait_ms: number;
        };
        /** PathTimes */
        PathTimes: {
            name: string;
            counts: [
                number,
                number
            ][];
        };
        /** StudySummary */
        StudySummary: {
            study_instance_uid: string;
            study_date: string;
            modalities: string;
            series: number;
            instances: number;
            received_at: string;
            source: string;
        };
        /** TokenPage */
        TokenPage: {
            items: components["schemas"]["ApiToken"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** ApiToken */
        ApiToken: {
            id: number;
            user_id: number;
            username: string;
            name: string;
            actions: string[] | null;
            created_at: string;
            expires_at: string;
            used_at: string | null;
        };
        /** NewToken */
        NewToken: {
            name: string;
            /** @default null */
            actions: string[] | null;
            /** @default null */
            expires_in_s: number | null;
        };
        /** MadeToken */
        MadeToken: {
            id: number;
            user_id: number;
            username: string;
            name: string;
            actions: string[] | null;
            created_at: string;
            expires_at: string;
            used_at: string | null;
            token: string;
        };
        /** UserPage */
        UserPage: {
            items: components["schemas"]["User"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** User */
        User: {
            id: number;
            username: string;
            /** @default  */
            display_name: string;
            /** @default  */
            email: string;
            /** @default  */
            department: string;
            /** @default  */
            language: string;
            /** @default true */
            enabled: boolean;
            /** @default [] */
            roles: string[];
            /** @default null */
            scope: components["schemas"]["RoleScope"] | null;
            /** @default false */
            has_password: boolean;
            /** @default null */
            issuer: string | null;
            /** @default  */
            created_at: string;
            /** @default null */
            last_login_at: string | null;
        };
        /** NewUser */
        NewUser: {
            username: string;
            /** @default  */
            display_name: string;
            /** @default null */
            password: string | null;
            /** @default [] */
            roles: string[];
            /** @default true */
            enabled: boolean;
            /** @default  */
            email: string;
            /** @default  */
            department: string;
            /** @default  */
            language: string;
            /** @default null */
            scope: components["schemas"]["RoleScope"] | null;
        };
        /** ChangedUser */
        ChangedUser: {
            display_name?: string;
            roles?: string[];
            enabled?: boolean;
            email?: string;
            department?: string;
            language?: string;
            scope?: components["schemas"]["RoleScope"] | null;
        };
        /** GivenPassword */
        GivenPassword: {
            password: string;
        };
        /** Ended */
        Ended: {
            ended: number;
        };
        /** Wanted */
        "web.api.archives.Wanted": {
            studies: string[];
        };
        /** AuditList */
        AuditList: {
            items: components["schemas"]["AuditRow"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** AuditRow */
        AuditRow: {
            id: number;
            at: string;
            recorded_at: string;
            event: string;
            outcome: string;
            who: string;
            via: string;
            address: string;
            patient_id: string;
            uids: string[];
            details: {
                [key: string]: string | number;
            };
            hash: string;
        };
        /** Verdict */
        Verdict: {
            ok: boolean;
            events: number;
            anchors: number;
            first_bad: number | null;
            why: string;
            findings: components["schemas"]["Damage"][];
        };
        /** Damage */
        Damage: {
            row: number;
            what: string;
        };
        /** Integrity */
        Integrity: {
            scrub: components["schemas"]["Runs"];
            reconcile: components["schemas"]["Runs"];
            findings: {
                [key: string]: number;
            };
        };
        /** Runs */
        Runs: {
            running: components["schemas"]["pacs_actors.lifecycle.integrity_runs.Run"] | null;
            last: components["schemas"]["pacs_actors.lifecycle.integrity_runs.Run"] | null;
            /** @default null */
            next_at: string | null;
        };
        /** Run */
        "pacs_actors.lifecycle.integrity_runs.Run": {
            id: number;
            /** @enum {unknown} */
            kind: "reconcile" | "scrub";
            fix: boolean;
            asked_by: string;
            began_at: string;
            ended_at: string | null;
            objects: number;
            size_bytes: number;
            found: number;
            fixed: number;
            problem: string;
        };
        /** FindingPage */
        FindingPage: {
            items: components["schemas"]["Finding"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Finding */
        Finding: {
            id: number;
            kind: string;
            subject: string;
            sop_instance_uid: string;
            detail: string;
            quarantine_key: string;
            found_by: string;
            found_at: string;
            seen_at: string;
            settled_at: string | null;
            settled: string;
        };
        /** Wanted */
        "web.api.integrity.Wanted": {
            /** @default false */
            fix: boolean;
        };
        /** BackupPage */
        BackupPage: {
            items: components["schemas"]["Backup"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Backup */
        Backup: {
            id: number;
            kind: string;
            state: string;
            asked_by: string;
            asked_at: string;
            began_at: string | null;
            ended_at: string | null;
            place: string;
            name: string;
            parent: string;
            objects: number;
            size_bytes: number;
            stored_bytes: number;
            encrypted: boolean;
            verified: boolean;
            damaged: number;
            problem: string;
            missing: number;
        };
        /** Schedule */
        Schedule: {
            place: string | null;
            full_every_days: number;
            incremental_every_h: number;
            keep_full: number;
            encrypted: boolean;
            next_at: string | null;
            next_kind: ("full" | "incremental") | null;
            restored: components["schemas"]["Restore"] | null;
        };
        /** Restore */
        Restore: {
            at: string;
            who: string;
            backup: string;
            instances: number;
        };
        /** NewBackup */
        NewBackup: {
            /**
             * @default incremental
             * @enum {unknown}
             */
            kind: "differential" | "full" | "incremental";
        };
        /** NodePage */
        NodePage: {
            items: components["schemas"]["Node"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Node */
        Node: {
            ae_title: string;
            host: string;
            port: number;
            /** @default [] */
            networks: string[];
            /** @default false */
            tls: boolean;
            /**
             * @default [
             *       "store",
             *       "find",
             *       "move",
             *       "get",
             *       "commit"
             *     ]
             */
            rights: string[];
            /** @default null */
            destinations: string[] | null;
            /** @default [] */
            transfer_syntaxes: string[];
            /** @default null */
            certificate_name: string | null;
            /** @default null */
            scope: components["schemas"]["NodeScope"] | null;
            /** @default false */
            fixed: boolean;
        };
        /** NodeScope */
        NodeScope: {
            /** @default false */
            everything: boolean;
            /** @default [] */
            rules: components["schemas"]["ScopeRule"][];
        };
        /** ScopeRule */
        ScopeRule: {
            /** @default [] */
            modalities: string[];
            /** @default [] */
            sources: string[];
            /** @default [] */
            institutions: string[];
            /** @default [] */
            departments: string[];
            /** @default [] */
            referring_physicians: string[];
            /** @default [] */
            studies: string[];
        };
        /** NodeSettings */
        NodeSettings: {
            ae_title: string;
            host: string;
            port: number;
            /** @default [] */
            networks: string[];
            /** @default false */
            tls: boolean;
            /**
             * @default [
             *       "store",
             *       "find",
             *       "move",
             *       "get",
             *       "commit"
             *     ]
             */
            rights: string[];
            /** @default null */
            destinations: string[] | null;
            /** @default [] */
            transfer_syntaxes: string[];
            /** @default null */
            certificate_name: string | null;
            /** @default null */
            scope: components["schemas"]["NodeScope"] | null;
        };
        /** EchoResult */
        EchoResult: {
            ok: boolean;
            ms: number | null;
            why: string;
        };
        /** PatientPage */
        PatientPage: {
            items: components["schemas"]["ListedPatient"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** ListedPatient */
        ListedPatient: {
            id: number;
            patient_id: string;
            issuer_of_patient_id: string;
            patient_name: string;
            patient_birth_date: string;
            patient_sex: string;
            number_of_studies: number;
            last_received_at: string | null;
        };
        /** SearchPage */
        SearchPage: {
            items: components["schemas"]["SavedSearch"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** SavedSearch */
        SavedSearch: {
            id: number;
            name: string;
            query: string;
            created_at: string;
        };
        /** NewSearch */
        NewSearch: {
            name: string;
            query: string;
        };
        /** SettingPage */
        SettingPage: {
            items: components["schemas"]["Setting"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Setting */
        Setting: {
            key: string;
            value: unknown;
            default: unknown;
            description: string;
            kind: string;
            live: boolean;
            source: string;
            /** @default null */
            fixed_by: string | null;
            /** @default null */
            changed_by: string | null;
            /** @default null */
            changed_at: string | null;
        };
        /** NewValue */
        NewValue: {
            value: boolean | number | string | string[] | null;
        };
        /** AssociationPage */
        AssociationPage: {
            items: components["schemas"]["OpenAssociation"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** OpenAssociation */
        OpenAssociation: {
            calling_ae: string;
            called_ae: string;
            address: string;
            since_s: number;
            requests: number;
            stored: number;
            received_bytes: number;
            sent_bytes: number;
            doing: string;
            /** @default 0 */
            place: number;
            slot: number;
        };
        /** QueuesState */
        QueuesState: {
            mailboxes: {
                [key: string]: {
                    [key: string]: components["schemas"]["MailboxStatus"];
                };
            };
            backlog: {
                [key: string]: number;
            };
            commitments: {
                [key: string]: number;
            };
            deletions: number;
            quarantined: number;
            audit: components["schemas"]["AuditQueue"];
        };
        /** AuditQueue */
        AuditQueue: {
            waiting: number;
            unsent: number;
        };
        /** Storage */
        "web.api.system.Storage": {
            totals: components["schemas"]["Totals"];
            by_modality: components["schemas"]["OfModality"][];
            by_month: components["schemas"]["OfMonth"][];
            as_of: string;
            free_bytes: number;
            reserve_bytes: number;
            accepting: boolean;
            why_not: string;
        };
        /** Totals */
        Totals: {
            patients: number;
            studies: number;
            series: number;
            instances: number;
            size_bytes: number;
        };
        /** OfModality */
        OfModality: {
            modality: string;
            series: number;
            instances: number;
            size_bytes: number;
        };
        /** OfMonth */
        OfMonth: {
            month: string;
            studies: number;
            instances: number;
            size_bytes: number;
        };
        /** QuarantinePage */
        QuarantinePage: {
            items: components["schemas"]["Quarantined"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Quarantined */
        Quarantined: {
            id: number;
            sop_instance_uid: string;
            why: string;
            source: string;
            address: string;
            size_bytes: number;
            quarantined_at: string;
            first_key: string;
        };
        /** CommitmentPage */
        CommitmentPage: {
            items: components["schemas"]["Commitment"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** Commitment */
        Commitment: {
            id: number;
            transaction_uid: string;
            requester: string;
            state: string;
            attempts: number;
            received_at: string;
            next_attempt_at: string;
        };
        /** TagPage */
        TagPage: {
            items: components["schemas"]["TagRow"][];
            next: string | null;
            total: number;
            total_exact: boolean;
        };
        /** TagRow */
        TagRow: {
            path: string;
            tag: string;
            vr: string;
            keyword: string;
            name: string;
            value: string;
            length: number;
            depth: number;
            bulk: boolean;
        };
        Problem: {
            type: string;
            title: string;
            status: number;
            detail?: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
